"""The process that compares mathematical answers, one a line; see ``mathematics``, which starts it.

It runs outside the study's process, so that an answer that takes too long, or too much memory, ends it alone.
"""

import json
import logging
import re
import resource
import signal
import sys
from typing import Any

SECONDS = 4  # of CPU time an item; the signal ends the process even within one long step of integer arithmetic
MEMORY = 4 * 1024**3


def main() -> None:
    """Read ``{"gold": …, "answer": …}`` from each line of the input and write whether they are equal."""
    try:
        import math_verify
        import sympy
        import sympy.physics.units  # simplify imports it, and its own texts need the eval that is replaced below
        from sympy.parsing import sympy_parser
    except ImportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    logging.disable()

    def numeral(code: str, *_: object) -> Any:
        """In place of ``eval``, which sympy makes of every string, even of a numeral of the LaTeX grammar."""
        call = re.fullmatch(r"\s*(Integer|Float)\s*\(\s*'?([\d.]+)'?\s*\)\s*", code)
        if call is None:
            raise ValueError("text is never evaluated as Python")
        return getattr(sympy, call[1])(call[2])

    sympy_parser.eval_expr = numeral
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most < 0 else min(MEMORY, most), most))
    # LaTeX alone: it is read by a grammar. math-verify's other reader, of plain expressions, is Python's eval.
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]

    def read(text: str) -> list:
        return math_verify.parse(f"\\boxed{{{text}}}", latex, parsing_timeout=None)

    ready = math_verify.verify(read("(x-0.5)(x+2)"), read("x^2 + \\frac{3}{2} x - 1"), timeout_seconds=None)
    print(json.dumps({"ready": True} if ready else {"error": "math-verify does not multiply (x-0.5)(x+2)"}), flush=True)
    for line in sys.stdin:
        item = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            equal = math_verify.verify(read(item["gold"]), read(item["answer"]), timeout_seconds=None)
        except (Exception, MemoryError):  # such as one that sympy raises on terms it cannot compare
            equal = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"equal": bool(equal)}), flush=True)


if __name__ == "__main__":
    main()
