"""Variants that others have compressed: what a profile says of them, and of which of its models they are variants."""

import re

from unicomp_lib.study import params
from unicomp_lib.study.hints import meant
from unicomp_lib.study.params import DENSE, GIVEN, PUBLISHED, Compression, ParamsError, Profile

ON_HUB = re.compile(r"[^/\s@]+/[^/\s@]+@[^\s@]+")


def check(profile: Profile) -> None:
    """Raise a ``ParamsError`` for a checkpoint that is not there, not pinned, or of a method that makes its own."""
    for variant, compression in profile.compressions.items():
        where = f"compressions.{variant} of profile {profile.name}"
        if not compression.is_given:
            if compression.checkpoint:
                raise ParamsError(
                    f"{where} gives 'checkpoint', which the study sets itself; remove it, or give method: {GIVEN}, "
                    "whose checkpoint is one that you have compressed"
                )
            continue
        if compression.base != DENSE:
            raise ParamsError(f"{where} gives base, but its checkpoint is taken as it is; remove base")
        for source in _of_models(compression, profile, where):
            _check_source(source, compression, profile, where)


def sources(profile: Profile) -> list[str]:
    """The checkpoints that others have compressed."""
    every = [entry.checkpoint_of(model) for entry in profile.compressions.values() for model in profile.models]
    return list(dict.fromkeys(source for source in every if source))


def concerns(profile: Profile, variant: str, model: str) -> bool:
    """Whether a model of the profile has this variant: it is made, or given for this model."""
    compression = profile.compressions[variant]
    if compression.is_given:
        return bool(compression.checkpoint_of(model))
    return variant == DENSE or compression.base == variant or concerns(profile, compression.base, model)


def _of_models(compression: Compression, profile: Profile, where: str) -> list[str]:
    given = compression.checkpoint
    if not given:
        what = "the folder of the compressed model" if compression.method == GIVEN else "owner/name@revision on the hub"
        raise ParamsError(f"{where} lacks 'checkpoint', {what}; add it")
    if isinstance(given, str):
        if len(profile.models) > 1:
            raise ParamsError(
                f"{where} gives one checkpoint, but the profile has models {', '.join(profile.models)}; say of which, "
                f"such as checkpoint: {{{next(iter(profile.models))}: {given}}}"
            )
        return [given]
    for model in given:
        if model not in profile.models:
            raise ParamsError(
                f"{where} gives the checkpoint of {model!r}, which is no model of the profile; allowed are "
                f"{', '.join(profile.models)}; {meant(model, profile.models) or 'correct or remove it'}"
            )
    return list(given.values())


def _check_source(source: str, compression: Compression, profile: Profile, where: str) -> None:
    found = params.located(source, profile.folder)
    if compression.method == PUBLISHED and (found or not ON_HUB.fullmatch(source)):
        other = f"; for a folder give method: {GIVEN}" if found else ""
        raise ParamsError(
            f"{where} gives checkpoint {source!r}; a published one is owner/name@revision on the hub, pinned "
            f"so that its weights cannot change under a result{other}"
        )
    if compression.method == GIVEN and found is None:
        hub = f"; for a model of the hub give method: {PUBLISHED}" if ON_HUB.fullmatch(source) else ""
        raise ParamsError(
            f"{where} gives checkpoint {source!r}, which is not there; put it there or correct the path{hub}"
        )
