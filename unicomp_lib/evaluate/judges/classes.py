"""Which class an answer names, for scores of whole tasks such as macro F1."""

from typing import Any

from unicomp_lib.evaluate.judges import closed

VERSION = "1"


def classes(items: list[dict[str, Any]], answers: list[str]) -> list[dict[str, float]]:
    """Verdicts of ``closed.label``, with the classes behind them.

    ``gold`` and ``choice`` are the right class and the one that the answer names, -1 for none, as their
    places in the sorted names of all the items' ``options``: items may list some of the classes only.
    """
    names = sorted({name for item in items for name in item["options"]})
    verdicts = []
    for item, answer, verdict in zip(items, answers, closed.label(items, answers), strict=True):
        choice = closed.named(answer, item["options"])
        gold = float(names.index(item["options"][item["gold"]]))
        named = -1.0 if choice is None else float(names.index(item["options"][choice]))
        verdicts.append({**verdict, "gold": gold, "choice": named})
    return verdicts
