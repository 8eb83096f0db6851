"""Talk to several models at once, and read their answers side by side."""

import html

import polars as pl
import torch
from IPython.display import display
from ipywidgets import HTML, HBox, Layout, Text, VBox
from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = "1"

Cells = dict[str, tuple[PreTrainedModel, PreTrainedTokenizerBase]]
Turns = list[dict[str, str]]


@torch.no_grad()
def answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turns: Turns, *, limit: int = 60) -> str:
    """The model's greedy answer, of at most ``limit`` tokens, to a conversation of ``role`` and ``content``.

    The conversation follows the model's own chat template; a model without one continues the plain text.
    """
    if tokenizer.chat_template is None:
        text = "\n".join(turn["content"] for turn in turns)
        prompt = tokenizer(text, return_tensors="pt")
    else:
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    prompt = prompt.to(model.device)
    settings = {"max_new_tokens": limit, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    generated = model.generate(**prompt, **settings)  # type: ignore[operator]
    return str(tokenizer.decode(generated[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def compare(cells: Cells, questions: list[str], *, limit: int = 60) -> pl.DataFrame:
    """One row per question and one column per model: what each answers."""
    rows = [
        {"question": question}
        | {name: answer(*cell, [{"role": "user", "content": question}], limit=limit) for name, cell in cells.items()}
        for question in questions
    ]
    return pl.DataFrame(rows)


def box(cells: Cells, *, limit: int = 60) -> None:
    """Display an input line; what is typed goes to all models, each with a conversation of its own."""
    conversations: dict[str, Turns] = {name: [] for name in cells}
    columns = {name: HTML(_page(name, []), layout=Layout(flex="1 1 0", min_width="0")) for name in cells}
    line = Text(placeholder="ask all of them, then Enter", continuous_update=False, layout=Layout(width="100%"))

    def ask(_: object) -> None:
        question, line.value = line.value.strip(), ""
        if not question:
            return
        for name, turns in conversations.items():
            turns.append({"role": "user", "content": question})
            columns[name].value = _page(name, [*turns, {"role": "assistant", "content": "..."}])
            turns.append({"role": "assistant", "content": answer(*cells[name], turns, limit=limit)})
            columns[name].value = _page(name, turns)

    line.observe(ask, names="value")
    display(VBox([line, HBox(list(columns.values()))]))


def _page(name: str, turns: Turns) -> str:
    # Escaped: what a model writes is shown, never run.
    lines = [
        f"<p><b>{'You' if turn['role'] == 'user' else html.escape(name)}:</b> {html.escape(turn['content'])}</p>"
        for turn in turns
    ]
    return f"<h4>{html.escape(name)}</h4>" + "".join(lines)
