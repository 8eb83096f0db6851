"""Run lm-eval tasks on a model in memory and return one row per item and metric."""

import json
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import forms
from unicomp_lib.evaluate import kept as keeping
from unicomp_lib.evaluate import task as definitions
from unicomp_lib.evaluate.tasks import extract, ifbench, items, refusal  # part of a step's identity

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = "4"

FEWSHOT_SEED = 1234  # lm-eval's own default
NORMALIZED = "acc_norm"  # ranks by log-likelihood per character
BYTES = 4  # of an option, about a token, whose log-likelihood decides its probability where lengths are normalized
COSTS = "costs.parquet"  # file of what each task took
SECONDS = {"task": pl.String, "seconds": pl.Float64}
REFERENCE = -1  # index of the request that scores the reference of a generated item


def run(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: dict[str, int],
    *,
    batch_size: int = 16,
    data_dir: str = "",
    folder: Path | None = None,
) -> pl.DataFrame:
    """Evaluate ``tasks``, a map from task name to number of items (0: all), and return item rows.

    ``data_dir`` is a folder of benchmark files that replace those of the assets. See ``rows``. With a ``folder``, the
    rows of each task are kept there when it ends, until all tasks are done; the same call takes them up again. The
    file ``COSTS`` there says how many CPU seconds each task took, of those that this call evaluated.
    """
    from unicomp_lib.evaluate import attention, packed_lm

    attention.use(model)
    lm = packed_lm.PackedLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    modules = (packed_lm, forms, items, extract, ifbench, refusal)
    versions = [VERSION, *(module.VERSION for module in modules)]
    kept = (
        keeping.kept(folder, model, tokenizer, versions, batch_size=batch_size, data_dir=data_dir) if folder else None
    )
    seconds: dict[str, float] = {}
    table = rows(lm, tasks, data_dir=data_dir, chat=tokenizer.chat_template is not None, kept=kept, seconds=seconds)
    if folder:
        of = table.select("task", "doc_id", "doc_hash").unique().group_by("task").agg(pl.len().alias("items"))
        spent = pl.DataFrame({"task": [*seconds], "seconds": [*seconds.values()]}, schema=SECONDS)
        tables.write(spent.join(of, on="task", maintain_order="left"), folder / COSTS)
    return table


def rows(
    lm: "LM",
    tasks: dict[str, int],
    *,
    data_dir: str = "",
    chat: bool = False,
    kept: keeping.Kept | None = None,
    seconds: dict[str, float] | None = None,
) -> pl.DataFrame:
    """Item rows of an lm-eval model: columns ``tables.ITEMS``, ``primary`` marking the metric that counts.

    Each item gives a row per lm-eval metric that is a mean over items. A ranked item also gives ``bits_per_byte``, the
    negative log2-likelihood of the reference answer per UTF-8 byte, and ``margin``, how many bits
    per byte the reference lies below the best wrong option; of several right options the likeliest is the reference.
    Its ``probability`` is that of the right options in a softmax over all of them: of their log-likelihoods, or where
    the task ranks by those per character, of their mean log-likelihoods over ``BYTES`` bytes. Guessing has the same
    mean as with right or wrong, and fewer items tell two models apart.
    A generated item gives ``bits_per_byte`` of its reference where it has one, ``tokens`` and ``truncated``, and
    ``unchecked`` where the task's check raised on an answer, which then counts as wrong. The continuous scores still
    show damage where a small model's accuracy is at chance. Tasks marked ``chat`` use the model's chat template.

    A task that fails leaves the others: with ``kept`` they are run and their rows kept. Then, or at once without it,
    a ``ValueError`` names the task and what went wrong: a form that cannot be scored (``forms.check``) or items that
    cannot, which shows before the model is asked, or a log-likelihood or logit that is not finite. ``seconds`` is given
    the CPU seconds of each task; those of reading prompts that several tasks ask are shared out equally.
    """
    from lm_eval.tasks import TaskManager  # heavy

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns about every custom data set
    about = {name: definitions.described(name) for name in tasks}
    done: dict[str, pl.DataFrame] = {}
    failed: dict[str, Exception] = {}
    ready: dict[str, tuple[Any, dict[str, dict[int, forms.Options]]]] = {}
    # Indexing lm-eval's own 14,000 tasks takes 13 s, so it is done only where one of them is needed.
    manager = TaskManager(include_defaults=not all(map(definitions.is_own, tasks)))
    for name, limit in tasks.items():
        if kept is not None and (rows := kept.read(name, limit)) is not None:
            print(f"{name}: rows of an earlier run taken up")
            done[name] = rows
            continue
        try:
            ready[name] = _loaded(manager, name, about[name], limit, data_dir)
        except Exception as error:  # whatever a task's data set or definition raises
            failed[name] = _failed(name, error, kept)
    spent = seconds if seconds is not None else {}
    for names in _with_one_prompt({name: loaded for name, (loaded, _) in ready.items()}, about):
        begun = time.process_time()
        _read_once(lm, {name: ready[name][0] for name in names}, about, tasks, chat=chat)
        shared = (time.process_time() - begun) / len(names)
        for name in names:
            loaded, options = ready.pop(name)
            begun = time.process_time()
            try:
                done[name] = _evaluated(lm, name, about[name], loaded, options, limit=tasks[name], chat=chat)
            except Exception as error:  # the other tasks go on
                failed[name] = _failed(name, error, kept)
            else:
                if kept is not None:
                    kept.write(done[name], name, tasks[name])
            spent[name] = shared + time.process_time() - begun
    if failed:
        raise _summary(failed, done, kept)
    if kept is not None:
        kept.remove()
    return pl.concat([done[name] for name in tasks]) if tasks else pl.DataFrame(schema=tables.ITEMS)


def _failed(name: str, error: Exception, kept: keeping.Kept | None) -> Exception:
    """The error, said at once: the other tasks may take hours. Without a place to keep their rows it ends the run."""
    if kept is None:
        raise error if isinstance(error, ValueError) and name in str(error) else _named(name, error) from error
    print(f"{_named(name, error)}; the other tasks go on")
    return error


def _named(name: str, error: Exception) -> ValueError:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return ValueError(f"task {name} failed: {kind}{first}")


def _summary(failed: dict[str, Exception], done: dict[str, pl.DataFrame], kept: keeping.Kept | None) -> ValueError:
    name, error = next(iter(failed.items()))
    others = [f"so did {', '.join(list(failed)[1:])}"] if len(failed) > 1 else []
    if done and kept is not None:
        where = kept.folder / keeping.FOLDER
        others.append(f"the rows of {', '.join(done)} are kept in {where}, from where the same run takes them up")
    summary = ValueError("; ".join([str(_named(name, error)), *others]))
    summary.__cause__ = error
    return summary


def _loaded(
    manager: "TaskManager", name: str, about: dict[str, Any], limit: int, data_dir: str
) -> tuple[Any, dict[str, dict[int, forms.Options]]]:
    """A task, or the tasks of a group, as lm-eval loads it, and the options of its items; checked."""
    loaded = manager.load([definitions.config(name, data_dir)])
    options = {}
    for subname, subtask in loaded["tasks"].items():
        forms.check(name, subtask, about)
        options[subname] = forms.options(name, subtask, about["metric"], limit or None)
        subtask.set_config(key="num_fewshot", value=about.get("shots", subtask.get_config("num_fewshot") or 0))
        subtask.set_fewshot_seed(seed=FEWSHOT_SEED)
    return loaded, options


def _with_one_prompt(loaded: dict[str, Any], about: dict[str, Any]) -> list[list[str]]:
    """The tasks, those together that ask the same prompts: formats of one set with the same template and examples."""
    together: dict[str, list[str]] = {}
    for name, task in loaded.items():
        facts: list[Any] = [bool(about[name].get("chat"))]
        for subtask in task["tasks"].values():
            config = subtask.config
            facts += [config.dataset_path, config.dataset_name, config.dataset_kwargs, config.num_fewshot]
            facts += [config.doc_to_text, config.description]
        together.setdefault(repr(facts), []).append(name)
    return list(together.values())


def _read_once(lm: "LM", loaded: dict[str, Any], about: dict[str, Any], tasks: dict[str, int], *, chat: bool) -> None:
    """Have a model that can read prompts ahead answer all that these tasks ask of theirs.

    Where that fails, whatever asks too much fails when its own task is evaluated, and the others do not.
    """
    read = getattr(lm, "read", None)
    if read is None:
        return
    try:
        requests = [
            request
            for name, task in loaded.items()
            for subtask in task["tasks"].values()
            for request in _requests(lm, subtask, about[name], tasks[name], chat=chat)
        ]
        read(requests)
    except Exception as error:
        first = str(error).partition("\n")[0]
        print(f"{', '.join(loaded)}: prompts are not read ahead, since that failed: {type(error).__name__}: {first}")


def _requests(lm: "LM", subtask: Any, about: dict[str, Any], limit: int, *, chat: bool) -> list["Instance"]:
    """All that a task will ask, with the references of its generated answers."""
    _build(lm, subtask, about, limit, chat=chat)
    if subtask.OUTPUT_TYPE != forms.GENERATED:
        return list(subtask.instances)
    references = [(request, _reference(about, subtask.doc_to_target(request.doc))) for request in subtask.instances]
    return [
        *subtask.instances,
        *(_of_reference(request.doc, request.args[0], text) for request, text in references if text),
    ]


def _build(lm: "LM", subtask: Any, about: dict[str, Any], limit: int, *, chat: bool) -> None:
    """Build a task's requests as ``evaluate`` does, which then takes these: to draw examples twice changes them."""
    as_chat = bool(about.get("chat")) and chat
    subtask.build_all_requests(
        limit=limit or None, rank=lm.rank, world_size=lm.world_size, apply_chat_template=as_chat,
        fewshot_as_multiturn=as_chat, chat_template=lm.apply_chat_template if as_chat else None,
        tokenizer_name=lm.tokenizer_name if as_chat else "",
    )  # fmt: skip
    subtask.build_all_requests = lambda **_: None


def _evaluated(
    lm: "LM",
    name: str,
    about: dict[str, Any],
    loaded: Any,
    options: dict[str, dict[int, forms.Options]],
    *,
    limit: int,
    chat: bool,
) -> pl.DataFrame:
    """Item rows of one task."""
    from lm_eval.evaluator import evaluate  # heavy

    raised = {subname: forms.guard(subtask) for subname, subtask in loaded["tasks"].items()}
    with forms.without_aggregates(loaded["tasks"].values()):
        # Not simple_evaluate, which lists the machine's packages at every call.
        result = evaluate(
            lm=lm, task_dict=loaded, limit=limit or None, bootstrap_iters=0, log_samples=True,
            apply_chat_template=bool(about.get("chat")) and chat,
            fewshot_as_multiturn=bool(about.get("chat")) and chat,  # examples as turns of the conversation
        )  # fmt: skip
    assert result is not None  # None only on ranks above 0 of a distributed run
    records: list[dict[str, Any]] = []
    # A group such as MMLU gives the samples of each of its tasks; of several filters, the first counts.
    for subname, samples in result["samples"].items():
        subtask = loaded["tasks"][subname]
        filtered = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        if subtask.OUTPUT_TYPE == forms.GENERATED:
            scores = _generated(lm, name, about, filtered)
        else:
            for sample in filtered:
                _check(name, sample, [float(answer[0]) for answer in sample["filtered_resps"]])
            scores = [_ranked(sample, options[subname].get(sample["doc_id"]), about["metric"]) for sample in filtered]
        _say(subname, subtask, filtered, raised[subname])
        for sample, (extra, output) in zip(filtered, scores, strict=True):
            metrics = forms.by_item(subtask, sample) | extra
            if "judge" not in about and about["metric"] not in metrics:
                raise ValueError(f"item {sample['doc_id']} of {subname} has no number as its {about['metric']}")
            if raised[subname]:
                metrics.setdefault(forms.UNCHECKED, 0.0)
            records += _item_rows(name, about, sample, metrics, output)
    return pl.DataFrame(records, schema=tables.ITEMS)


def _say(name: str, subtask: Any, samples: list[dict[str, Any]], raised: list[Exception]) -> None:
    """A line on each thing that the rows do not show as one would expect."""
    if missing := forms.left_out(subtask, samples):
        print(f"{name}: {', '.join(missing)} left out, since lm-eval does not take their mean over items")
    if count := sum(bool(sample.get(forms.UNCHECKED)) for sample in samples):
        first = f", first {type(raised[0]).__name__}: {raised[0]}" if raised else ""
        print(f"{name}: the check of {count} of {len(samples)} answers raised, which count as wrong{first}")


def _check(task: str, sample: dict[str, Any], values: list[float]) -> None:
    """Raise a ``ValueError`` unless an item's log-likelihoods are finite: a broken model has no accuracy."""
    if not all(map(math.isfinite, values)):
        raise ValueError(
            f"the model gives NaN or infinite values on item {sample['doc_id']} of {task}, so it cannot be scored; "
            "check that its checkpoint is whole"
        )


def _item_rows(
    task: str, about: dict[str, Any], sample: dict[str, Any], metrics: dict[str, float], output: str
) -> list[dict[str, Any]]:
    shared = {
        "task": task,
        **{key: about[key] for key in ("dimension", "capability", "format")},
        "chance": float(about["chance"]),
        **{key: sample[key] for key in ("doc_id", "doc_hash", "prompt_hash")},
        "cluster": str(sample["doc"].get("cluster") or sample["doc_hash"]),
        "output": output,
        "judge": about.get("judge", ""),
    }
    return [
        {**shared, "metric": metric, "value": value, "primary": metric == about["metric"]}
        for metric, value in metrics.items()
    ]


def _ranked(sample: dict[str, Any], options: forms.Options | None, metric: str) -> tuple[dict[str, float], str]:
    """Continuous scores of a ranked item, and the model's output: (log-likelihood, greedy) of each option.

    Without ``options`` there is one continuation, and neither margin nor probability.
    """
    bits = [
        _bits(float(answer[0]), text)
        for answer, (_, text) in zip(sample["filtered_resps"], sample["arguments"], strict=True)
    ]
    output = json.dumps({"options": sample["filtered_resps"]})
    if options is None:
        return {"bits_per_byte": bits[0]}, output
    # Requests beyond the options ask for their likelihood without the question (``acc_mutual_info``).
    best = min(bits[index] for index in options.right)
    wrong = min(bits[index] for index in range(options.number) if index not in options.right)
    logs = [-bits[index] * math.log(2) * BYTES for index in range(options.number)]
    if metric != NORMALIZED:
        logs = [float(answer[0]) for answer in sample["filtered_resps"][: options.number]]
    return {"bits_per_byte": best, "margin": wrong - best, forms.PROBABILITY: _probability(logs, options.right)}, output


def _probability(logs: list[float], right: list[int]) -> float:
    """Softmax of the options' log-likelihoods, summed over the right ones."""
    weights = [math.exp(log - max(logs)) for log in logs]
    return sum(weights[index] for index in right) / sum(weights)


def _generated(
    lm: "LM", task: str, about: dict[str, Any], samples: list[dict[str, Any]]
) -> list[tuple[dict[str, float], str]]:
    """Length, truncation and continuous score of generated items, and the model's output."""
    references = [_reference(about, sample["target"]) for sample in samples]
    requests = [
        _of_reference(sample["doc"], sample["arguments"][0][0], text)
        for sample, text in zip(samples, references, strict=True)
        if text
    ]
    scores = iter(lm.loglikelihood(requests, disable_tqdm=True) if requests else [])
    scored = []
    for sample, text in zip(samples, references, strict=True):
        ending = getattr(lm, "endings", {}).get(sample["arguments"][0][0])
        output = {"answers": sample["resps"][0]}
        metrics = {}
        if ending is not None:
            _check(task, sample, [] if ending.finite else [math.nan])
            metrics = {"tokens": float(ending.tokens), "truncated": float(ending.truncated)}
        if text:
            output["reference"] = next(scores)[0]
            _check(task, sample, [float(output["reference"])])
            metrics["bits_per_byte"] = _bits(float(output["reference"]), text)
        scored.append((metrics, json.dumps(output | metrics)))
    return scored


def _of_reference(doc: dict[str, Any], prompt: str, text: str) -> "Instance":
    from lm_eval.api.instance import Instance  # heavy

    return Instance("loglikelihood", doc, (prompt, text), REFERENCE)


def _reference(about: dict[str, Any], target: Any) -> str:
    """The continuation whose log-likelihood is scored; empty where the task has no reference text."""
    target = target[0] if isinstance(target, list) and target else target  # of several accepted ones, the first
    has_reference = about.get("reference", True) and isinstance(target, str) and target.strip()
    return f" {target.strip()}" if has_reference else ""


def _bits(loglikelihood: float, text: str) -> float:
    return -loglikelihood / math.log(2) / len(text.encode())
