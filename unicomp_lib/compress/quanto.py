"""Round-to-nearest weight quantization by optimum-quanto, saved and reloaded in quanto's own format."""

import torch
from optimum import quanto
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, quanto_form  # noqa: F401, quanto_form makes int8 products safe

VERSION = "3"
WEIGHTS = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "float8": "qfloat8"}
ACTIVATIONS = {"": None, "int8": "qint8"}
BATCH = 8  # calibration samples in one forward pass


@torch.no_grad()
def compress(
    model: PreTrainedModel, tokens: torch.Tensor | None = None, *, weights: str = "int8", activations: str = ""
) -> PreTrainedModel:
    """Quantize the decoder layers' linear maps in place and return the model.

    int8 and float8 (e4m3) weights are symmetric with one scale per output; int4 and int2 are
    asymmetric in groups along the inputs, of 128 or the largest smaller multiple of 32 that divides
    the matrix. Activations stay in floating point, or are int8 with one scale per tensor, the
    moving average over the calibration text ``tokens`` (samples, length). A ``ValueError`` lists
    what is allowed, or names what of the model cannot be compressed (``decoder.compressible``).
    """
    for name, value, allowed in (("weights", weights, WEIGHTS), ("activations", activations, ACTIVATIONS)):
        if value not in allowed:
            known = ", ".join(option or "nothing" for option in allowed)
            raise ValueError(f"{name}={value!r} is not allowed; give one of {known}")
    if activations and tokens is None:
        raise ValueError(f"activations={activations!r} needs calibration tokens; give them, or leave activations out")
    chosen = {"weights": WEIGHTS[weights], "activations": ACTIVATIONS[activations]}
    # The head shares its matrix with the embeddings in tied models, and is left dense in all.
    inside = set(map(id, decoder.linears(decoder.compressible(model)).values()))
    names = [name for name, linear in decoder.linears(model).items() if id(linear) in inside]
    quanto.quantize(model, **{key: quanto.qtypes[name] for key, name in chosen.items() if name}, include=names)
    if activations and tokens is not None:
        with quanto.Calibration():
            for batch in tokens.to(model.device).split(BATCH):
                model(input_ids=batch, use_cache=False)
    quanto.freeze(model)
    return model
