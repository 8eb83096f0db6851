"""IFBench's own checkers, read from its package: does an answer follow verifiable instructions?

Source: Pyatkin et al., 2025 (arXiv 2507.02833). The package's module downloads models when it is
imported; here it is loaded without them, and without the checkers that need them.
"""

import importlib.util
import json
import sys
from functools import cache
from types import ModuleType
from typing import Any

from unicomp_lib.evaluate.tasks import replies
from unicomp_lib.inputs import assets

VERSION = "3"

# These need a part-of-speech tagger, a word tokenizer, a list of stop words or of syllables from the network.
DOWNLOADS = {
    "ratio:stop_words", "words:start_verb", "words:odd_even_syllables", "words:keywords_specific_position",
    "words:words_position", "format:title_case",
}  # fmt: skip

DATA = ("tokenizers/punkt_tab", "corpora/stopwords", "taggers/averaged_perceptron_tagger_eng")


def followed(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """lm-eval ``process_results``: whether all instructions are followed, and what share of them; strict and loose.

    Loose (IFEval, Zhou et al., arXiv 2311.07911, section 2.2): it is enough that one of ``loosened`` follows an
    instruction. ``unchecked``: whether a checker raised on the answer, whose instruction then counts as not followed.
    """
    answer = replies.final(results[0])
    instructions = list(zip(doc["names"], json.loads(doc["arguments"]), strict=True))
    verdicts = [_verdict(name, kwargs, doc["prompt"], answer) for name, kwargs in instructions]
    strict = [verdict is True for verdict in verdicts]
    loose = [
        satisfied or any(check(name, kwargs, doc["prompt"], variant) for variant in loosened(answer))
        for satisfied, (name, kwargs) in zip(strict, instructions, strict=True)
    ]
    return {
        "prompt_level": float(all(strict)),
        "instruction_level": sum(strict) / len(strict),
        "prompt_level_loose": float(all(loose)),
        "instruction_level_loose": sum(loose) / len(loose),
        "unchecked": float(None in verdicts),
    }


def loosened(answer: str) -> list[str]:
    """An answer without its first line, its last, both, or asterisks: what models add around what was asked."""
    lines = answer.split("\n")
    parts = ["\n".join(part).strip() for part in (lines, lines[1:], lines[:-1], lines[1:-1])]
    variants = [*parts, *(part.replace("*", "") for part in parts)]
    return [variant for variant in dict.fromkeys(variants) if variant and variant != answer]


def check(name: str, kwargs: dict[str, Any], prompt: str, answer: str) -> bool:
    """Whether an answer follows one instruction, as IFBench's strict evaluation decides it; not, where that raises."""
    return _verdict(name, kwargs, prompt, answer) is True


def _verdict(name: str, kwargs: dict[str, Any], prompt: str, answer: str) -> bool | None:
    """None where the checker raises, as some do on an answer without words, sentences or lines."""
    instruction = registry()[name](name)
    if not answer.strip():
        return False
    try:
        instruction.build_description(**kwargs)
        # A span's checker takes a start of 0 for none, and draws one: the verdict would be luck.
        if kwargs.get("n_start") == 0:
            instruction._n_start = 0
        if "prompt" in (instruction.get_instruction_args() or {}):
            instruction.build_description(prompt=prompt)
        return bool(instruction.check_following(answer))
    except Exception:  # whatever a checker stumbles over
        return None


def require_all() -> None:
    """Raise a ``ValueError`` where something that only the full set's checkers need is missing."""
    import nltk

    missing = [] if importlib.util.find_spec("syllapy") else ["the package syllapy"]
    for resource in DATA:
        try:
            nltk.data.find(resource)
        except LookupError:
            missing.append(f"nltk's {resource.split('/')[1]}")
    if missing:
        names = " ".join(resource.split("/")[1] for resource in DATA)
        raise ValueError(
            f"all of IFBench needs {', '.join(missing)}: run 'pip install syllapy' and 'python -m nltk.downloader "
            f"{names}', or use the task ifbench_generate, which needs none"
        )


@cache
def registry() -> dict[str, Any]:
    """IFBench's checkers by instruction."""
    stand_ins = {"ifbench": ModuleType("ifbench"), "nltk": _without_downloads()}
    # spacy is imported to download a model that no checker uses.
    stand_ins |= {"spacy": ModuleType("spacy"), "spacy.cli": ModuleType("spacy.cli")}
    stand_ins["spacy.cli"].download = lambda _: None  # type: ignore[attr-defined]
    if importlib.util.find_spec("syllapy") is None:
        stand_ins["syllapy"] = ModuleType("syllapy")
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        for module in ("instructions_util", "instructions", "instructions_registry"):
            setattr(stand_ins["ifbench"], module, _load(module))
    finally:
        for name, original in before.items():
            sys.modules.pop(name)
            if original is not None:
                sys.modules[name] = original
    checkers: dict[str, Any] = stand_ins["ifbench"].instructions_registry.INSTRUCTION_DICT
    return checkers


def _without_downloads() -> ModuleType:
    """nltk as the checkers see it: the same functions, with only the data that the user has installed."""
    import nltk

    offline = ModuleType("nltk")
    offline.__dict__.update(nltk.__dict__, download=lambda *_, **__: True)
    return offline


def _load(module: str) -> ModuleType:
    name = f"ifbench.{module}"
    spec = importlib.util.spec_from_file_location(name, assets.path("ifbench", f"ifbench/{module}.py"))
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded
