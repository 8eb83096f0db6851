"""Low-Rank Clone (Hao et al., 2025, arXiv 2505.12781): a student whose weights are projections of the teacher's."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import mse_loss
from transformers import PreTrainedModel

from unicomp_lib.compress import distill, minitron, students

VERSION = "3"

ALPHA = 0.2  # weight of the activations' error, as in the authors' script
CLONED = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # as wide in the student as in the teacher
PROJECTED = ("o_proj", "down_proj")  # their outputs are hidden states, compared through their own projection


class Clone(nn.Module):
    """A student (``plain``) whose weights are W P, with the teacher's W fixed and P trained (section 3.1).

    Every linear map and the embeddings have a projection P (hidden of the teacher, hidden of the
    student) of their own; norms are trained directly. Deviation: projections start as a
    selection of the teacher's most active channels; a random start would need billions of tokens.
    """

    def __init__(self, teacher: PreTrainedModel, tokens: torch.Tensor, *, hidden: int) -> None:
        super().__init__()
        active = minitron.activity(teacher, tokens)["hidden"][0]
        self.teacher = teacher.float().requires_grad_(requires_grad=False)
        minitron.check_size("hidden", hidden, len(active))
        chosen = minitron.largest(active, hidden)
        self.student = students.cut(teacher, replace(students.whole(teacher), hidden=chosen))
        start = torch.eye(len(active))[:, chosen].to(teacher.device)
        self.axis, self.projections, self.norms = {}, nn.ParameterDict(), nn.ParameterDict()
        tied = self.student.config.tie_word_embeddings
        for name, parameter in self.student.named_parameters():
            key = name.replace(".", "/")  # a ParameterDict takes no dots
            if parameter.ndim == 2 and not (tied and name == "lm_head.weight"):
                self.axis[name] = students.axes(name).index("hidden")
                self.projections[key] = nn.Parameter(start.clone())
            else:
                self.norms[key] = nn.Parameter(parameter.detach().clone())

    def weights(self) -> dict[str, torch.Tensor]:
        """The student's weights as projections of the teacher's, by name."""
        weights: dict[str, torch.Tensor] = {key.replace("/", "."): value for key, value in self.norms.items()}
        for name, axis in self.axis.items():
            projection, weight = self.projections[name.replace(".", "/")], self.teacher.get_parameter(name)
            weights[name] = weight @ projection if axis == 1 else projection.T @ weight
        if self.student.config.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        return weights

    def trained(self) -> dict[str, nn.Parameter]:
        """Projections and norms, by name."""
        return {**dict(self.projections.items()), **dict(self.norms.items())}

    @torch.no_grad()
    def plain(self) -> PreTrainedModel:
        """The student with its weights multiplied out: an ordinary model of the teacher's family."""
        self.student.load_state_dict(self.weights(), strict=False)
        self.student.tie_weights()
        return self.student.eval()

    def loss(self, *, temperature: float = 1.0, direction: str = "forward", alpha: float = ALPHA) -> distill.Loss:
        """Divergence of the logits, cross-entropy of the text, and ``alpha`` times the activations' error.

        The activations are the outputs of all linear maps: compared directly where the student is as
        wide as the teacher, after projecting the teacher's where they are hidden states. As in the
        authors' code, the errors of all maps are added up, seven in each layer of a Llama. Deviation:
        each error is taken relative to the teacher's mean square. With plain squares the few maps with
        massive activations dominate.
        """

        def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            weights = self.weights()
            with torch.no_grad(), _outputs(self.teacher) as theirs:
                target = self.teacher(input_ids=batch, use_cache=False).logits
            with _outputs(self.student) as ours:
                logits = torch.func.functional_call(
                    self.student, weights, kwargs={"input_ids": batch, "use_cache": False}, tie_weights=False
                ).logits
            clone = torch.stack([self._distance(name, ours[name], theirs[name]) for name in ours]).sum()
            kl = distill.divergence(logits, target, temperature=temperature, direction=direction)
            text = distill.next_token(logits, batch)
            return {"loss": kl + text + alpha * clone, "kl": kl, "text": text, "clone": clone}

        return loss

    def _distance(self, name: str, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        if name.rsplit(".", 1)[-1] in PROJECTED:
            theirs = theirs @ self.projections[f"{name}.weight".replace(".", "/")].to(theirs.dtype)

        def error(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
            return mse_loss(ours.float(), theirs.float(), reduction="sum")

        def square(theirs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return theirs.float().square().sum()

        fixed = theirs.detach()
        return distill.mean(error, ours, theirs) / distill.mean(square, fixed, fixed).clamp(min=1e-12)


class _outputs:  # noqa: N801, used as a verb
    """Outputs of a model's linear maps by name, inside a ``with`` block."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __enter__(self) -> dict[str, torch.Tensor]:
        outputs: dict[str, torch.Tensor] = {}

        def watch(name: str):  # type: ignore[no-untyped-def]
            return lambda _, __, output: outputs.__setitem__(name, output)

        self.handles = [
            part.register_forward_hook(watch(name))
            for name, part in self.model.named_modules()
            if name.rsplit(".", 1)[-1] in (*CLONED, *PROJECTED)
        ]
        return outputs

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
