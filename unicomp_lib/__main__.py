"""Command line of the study: ``python -m unicomp_lib reproduce | status | report | compare | ...``.

Nothing heavy is imported before a command runs: help is quick, and Ctrl-C or a broken import ends in a sentence.
"""

import argparse
import gc
import importlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

COMMANDS = ("reproduce", "status", "report", "compare", "publish", "export", "prefetch", "clean", "label", "design")
SYSTEMS = ("slurm",)  # of ``study.slurm``
STOPPED = 130  # as a shell calls a command that Ctrl-C ended
UNREAD = 141  # the same of one whose output nobody reads any more


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, with the command that explains."""

    def error(self, message: str) -> NoReturn:
        """Leave with code 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run it; 0 when all is well, 1 when a step failed, 2 on bad input."""
    try:
        options = _parser().parse_args(arguments)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A run's log file is read while it runs, and its encoding may not have every letter.
            sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nstopped; finished steps are kept, run the same command to go on", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # What is left to print goes nowhere; Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except Exception as error:  # whatever it is, a user reads a sentence
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    """What went wrong in one line. What the study did not foresee is written whole to a file, to be reported."""
    from unicomp_lib.study.hints import one_line

    if isinstance(error, ValueError | RuntimeError | ConnectionError) and type(error).__module__.partition(".")[0] in (
        "builtins", "unicomp_lib",
    ):  # fmt: skip
        return one_line(error, 4000)
    if isinstance(error, OSError):
        from unicomp_lib import paths
        from unicomp_lib.study.worker import explanation

        return one_line(explanation(error, paths.project()))
    return f"{type(error).__name__}: {one_line(error)}; {_reported(error)}"


def _reported(error: Exception) -> str:
    import traceback

    from unicomp_lib import paths

    target = paths.home() / "error.txt"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return "this is a fault of the study: please report it"
    return f"this is a fault of the study: please report it with {target}"


def _of(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command, imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        command: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(module), name)
        return command(options)

    return run


class Version(argparse.Action):
    """Prints the version of the package and the commit of the checkout."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Leave with code 0."""
        from importlib.metadata import PackageNotFoundError, version

        from unicomp_lib.study import records

        try:
            number = version("unicomp-lib")
        except PackageNotFoundError:
            number = "of a checkout that is not installed"
        commit = records.commit()
        state = (
            f", commit {commit['commit'][:12]}{' with changes' if commit['dirty'] else ''}" if commit["commit"] else ""
        )
        print(f"unicomp-lib {number}{state}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    from unicomp_lib import hardware

    parser = Parser(prog="python -m unicomp_lib", description="What compression really does to a model.")
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and the commit, and stop")
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS), parser_class=Parser)
    made = {
        name: commands.add_parser(name, prog=f"nox -s {name} --", help=text, description=text)
        for name, text in {
            "reproduce": "run what is missing, then draw the figures",
            "status": "list what is done, stale, failed and missing",
            "report": "build a site of static pages from a profile's results",
            "compare": "say whether model B is worse than A, where, and how sure that is",
            "publish": "write a profile's results in the forms that others read",
            "export": "write a checkpoint as one GGUF file, without loss",
            "prefetch": "download all that a profile reads",
            "clean": "remove stale runs, scratch files and results of cells that the profile no longer has",
            "label": "draw judged answers for people to label, or score their labels",
            "design": "from a finished run: how many items of which task give the narrowest intervals",
        }.items()
    }
    for name, command in made.items():
        command.add_argument("--version", action=Version, nargs=0, help="print the version and the commit, and stop")
        if name != "label":
            command.add_argument(
                "--profile", default="embedded", help="tiny, embedded, paper or a YAML file (%(default)s)"
            )
    functions = {"reproduce": "reproduce", "status": "show_status", "prefetch": "fetch", "clean": "clean"}
    for name, function in functions.items():
        made[name].set_defaults(command=_of("unicomp_lib.study.commands", function))
    for name in ("reproduce", "status"):
        made[name].add_argument(
            "--only", metavar="GLOB", action="append", help="steps by name, with all they read; can be given again"
        )
    made["status"].add_argument("--verify", action="store_true", help="read all files of finished steps, too")
    made["clean"].add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    for name, what in (("reproduce", "steps"), ("report", "notebooks")):
        told = f"{what} at once ({hardware.workers()})"
        made[name].add_argument("--workers", type=int, help=told)
    _add_reproduce(made["reproduce"])
    _add_report(made["report"])
    _add_compare(made["compare"])
    _add_publish(made["publish"])
    _add_export(made["export"])
    _add_label(made["label"])
    _add_design(made["design"], hardware.workers())
    return parser


def _add_reproduce(reproduce: argparse.ArgumentParser) -> None:
    reproduce.add_argument(
        "--per-device", metavar="N", type=int, default=1, help="steps that share an accelerator (%(default)s)"
    )
    reproduce.add_argument(
        "--force", metavar="GLOB", action="append", default=[],
        help="run these again, and all that reads them; can be given again",
    )  # fmt: skip
    reproduce.add_argument("--dry-run", action="store_true", help="print the plan and stop; needs no network")
    reproduce.add_argument("--step-limit", metavar="SECONDS", type=float, help="end a step that runs longer")
    reproduce.add_argument(
        "--model",
        metavar="NAME=FOLDER",
        default="",
        help="the same plan on your model: a folder or owner/name@revision",
    )
    elsewhere = reproduce.add_mutually_exclusive_group()
    elsewhere.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, tls://host:8786")
    elsewhere.add_argument("--cluster", choices=SYSTEMS, help="submit workers as the profile's section cluster says")


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "--without-chapters", action="store_true", help="leave out the teaching notebooks, which run once"
    )
    command = _of("unicomp_lib.report.command", "report")
    report.set_defaults(command=command, scheduler=None, cluster=None, step_limit=None, per_device=1)


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("a", metavar="A", help="a checkpoint's folder, owner/name@revision, a log, or a cell")
    compare.add_argument("b", metavar="B", help="the model that is judged against A, or its log")
    compare.add_argument(
        "--rerun", metavar="C", default="", help="A evaluated again: how far its answers move by chance"
    )
    compare.add_argument(
        "--tasks", metavar="TASK", nargs="+", action="extend", default=[],
        help="tasks that models are asked; of logs, names or globs",
    )  # fmt: skip
    compare.add_argument("--items", metavar="N", type=int, help="items of each task (models: 100; logs: all)")
    compare.add_argument(
        "--metric", default="", help="such as acc_norm or exact_match,strict-match; else each task's own"
    )
    compare.add_argument("--cluster", metavar="FIELD", default="", help="field of a log's items that groups them")
    compare.add_argument("--data-dir", metavar="FOLDER", default="", help="benchmark files that replace packaged items")
    compare.add_argument("--text", default="held-out", help="text on which models are compared token by token")
    compare.add_argument("--output", metavar="FOLDER", type=Path, help="where the page goes (report/compare-A--B)")
    compare.set_defaults(command=_of("unicomp_lib.compare.command", "compare"))


def _add_design(design: argparse.ArgumentParser, workers: int) -> None:
    design.add_argument("--minutes", type=float, default=30, help="wall time of the dimension's cells (%(default)s)")
    design.add_argument("--dimension", default="performance", help="performance or reliability (%(default)s)")
    design.add_argument("--workers", type=int, default=workers, help="steps at once (%(default)s)")
    design.set_defaults(command=_of("unicomp_lib.study.designing", "show"))


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("folder", metavar="FOLDER", type=Path, help="where the files are written; nothing is uploaded")
    publish.add_argument("--by", default="unknown", help="who evaluated the models, for the records (%(default)s)")
    publish.add_argument(
        "--relationship", default="third_party",
        help="who that is to the models' developer: first_party, third_party, collaborative, other (%(default)s)",
    )  # fmt: skip
    publish.set_defaults(command=_of("unicomp_lib.exchange.command", "publish"))


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "model", metavar="CELL_OR_FOLDER", help="a cell such as smollm2-135m/gptq-int4, or a checkpoint's folder"
    )
    export.add_argument("file", metavar="FILE.gguf", type=Path, help="where the file is written, whole or not at all")
    export.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    export.set_defaults(command=_of("unicomp_lib.exchange.gguf_command", "export"))


def _add_label(label: argparse.ArgumentParser) -> None:
    actions = label.add_subparsers(required=True, metavar="draw | score", parser_class=Parser)
    draw = actions.add_parser(
        "draw", prog="nox -s label -- draw", help="write a sample of judged answers to a CSV file"
    )
    draw.add_argument("file", type=Path, help="CSV file to write; fill in its column label with 0 or 1")
    draw.add_argument("--profile", default="embedded", help="a finished profile (%(default)s)")
    draw.add_argument("--number", type=int, default=200, help="answers to draw (%(default)s)")
    draw.add_argument("--seed", type=int, default=0, help="of the sample (%(default)s)")
    draw.set_defaults(command=_of("unicomp_lib.study.commands", "draw_labels"))
    score = actions.add_parser(
        "score", prog="nox -s label -- score", help="accuracy and Cohen's kappa of the judges on a labelled file"
    )
    score.add_argument("file", type=Path, help="the labelled CSV file")
    score.set_defaults(command=_of("unicomp_lib.study.commands", "score_labels"))


if __name__ == "__main__":
    # What is imported and parsed stays: to look through it for garbage each time it has grown took a fifth of a start.
    gc.set_threshold(50_000, 20, 20)
    sys.exit(main())
