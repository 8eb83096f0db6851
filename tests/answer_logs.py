"""Logs as lm-eval and inspect_ai write them, by hand: what the tests of the comparison read."""

import json
import zipfile

DATE = "2026-01-02T03-04-05.678901"


def lmeval(folder, task, values, *, metric="acc", lower=False, date=DATE, **changes):
    """A log of lm-eval in ``folder`` (a file of samples and its results) with these values; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [sample(index, value, metric=metric, **changes) for index, value in enumerate(values)]
    path = folder / f"samples_{task}_{date}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {"versions": {task: 1.0}, "n-shot": {task: 0}, "higher_is_better": {task: {metric: not lower}}}
    (folder / f"results_{date}.json").write_text(json.dumps(about))
    return folder


def sample(index, value, *, metric="acc", **changes):
    """One line of ``--log_samples``; ``changes`` replace fields, those that are functions by the number of the item."""
    line = {
        "doc_id": index, "doc": {"question": f"Is {index} even?", "passage": str(index // 4)}, "target": "1",
        "arguments": {
            "gen_args_0": {"arg_0": f"Question: Is {index} even?\nAnswer:", "arg_1": " yes"},
            "gen_args_1": {"arg_0": f"Question: Is {index} even?\nAnswer:", "arg_1": " no"},
        },
        "resps": [[["-1.5", "False"]], [["-0.5", "True"]]], "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
        "filter": "none", "metrics": [metric], "doc_hash": f"d{index}", "prompt_hash": f"p{index}",
        "target_hash": "t", metric: value,
    }  # fmt: skip
    return line | {name: made(index) if callable(made) else made for name, made in changes.items()}


def inspect(path, task, values, *, scorer="match", packed=True, **changes):
    """A log of inspect_ai with these scores, as ``.eval`` or, not ``packed``, as ``.json``; returns its path."""
    samples = [inspect_sample(index, value, scorer, **changes) for index, value in enumerate(values)]
    header = {"version": 2, "status": "success", "eval": {"task": task, "task_version": 0, "model": "m", "config": {}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    if not packed:
        path.write_text(json.dumps(header | {"samples": samples}))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps(header))
        for each in samples:
            archive.writestr(f"samples/{each['id']}_epoch_{each['epoch']}.json", json.dumps(each))
        archive.writestr("header.json", json.dumps(header))
    return path


def inspect_sample(index, value, scorer="match", **changes):
    asked = {"id": f"x{index}", "content": f"Is {index} even?", "role": "user"}
    said = {"id": f"y{index}{value}", "content": "no", "role": "assistant"}
    scores = {scorer: {"value": value, "answer": "no"}}
    made = {
        "id": index, "epoch": 1, "input": f"Is {index} even?", "target": "no", "messages": [asked, said],
        "output": {"choices": [{"message": said}]}, "scores": scores, "metadata": {"passage": index // 4},
    }  # fmt: skip
    return made | {name: each(index) if callable(each) else each for name, each in changes.items()}
