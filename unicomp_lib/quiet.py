"""What other libraries would show in red in a notebook although it means nothing: known warnings, and bars of text."""

import functools
import logging
import sys
from typing import Any

# By logger, what the message holds.
KNOWN = {
    # A tokenizer's file asks for it, and transformers says that it does not do it, as is right for this kind.
    "transformers.tokenization_utils_tokenizers": ("clean_up_tokenization_spaces",),
    # lm-eval is given a model and not its name, and runs in one process: we want just that.
    "lm_eval.models.huggingface": (
        "`pretrained` model kwarg is not of type `str`", "Passed an already-initialized model through `pretrained`"
    ),
}  # fmt: skip


def known() -> None:
    """Leave these out of what the process shows from now on, and nothing else."""
    for name, texts in KNOWN.items():
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Without) for each in logger.filters):
            logger.addFilter(_Without(texts))
    if "ipykernel" in sys.modules:
        _leave_out_bars()


def _leave_out_bars() -> None:
    """tqdm's bars of text, which go to stderr. Those of ``tqdm.auto`` are widgets here, and stay."""
    from tqdm import std

    plain = std.tqdm.__init__
    if hasattr(plain, "quiet"):
        return

    @functools.wraps(plain)
    def begin(self: Any, *given: Any, **options: Any) -> None:
        if type(self) is std.tqdm:
            options["disable"] = True
        plain(self, *given, **options)

    begin.quiet = True  # type: ignore[attr-defined]
    std.tqdm.__init__ = begin


class _Without(logging.Filter):
    """Lets every message pass but those with one of these texts."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        super().__init__()
        self.texts = texts

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        message = record.getMessage()
        return not any(text in message for text in self.texts)
