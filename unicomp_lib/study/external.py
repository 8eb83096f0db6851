"""Variants of some of a profile's models: those that others have compressed, and those with values for each model."""

import re
from collections.abc import Iterable

from unicomp_lib.inputs import hub
from unicomp_lib.study import params
from unicomp_lib.study.hints import meant
from unicomp_lib.study.params import BY_MODEL, DENSE, GIVEN, PUBLISHED, Compression, ParamsError, Profile

ON_HUB = re.compile(r"[^/\s@]+/[^/\s@]+@[^\s@]+")


def check(profile: Profile) -> None:
    """Raise a ``ParamsError`` for a checkpoint that is not there, not pinned, or of a method that makes its own.

    And for values given for each model, of a parameter that has none, or for a model that there is not.
    """
    for variant, compression in profile.compressions.items():
        where = f"compressions.{variant} of profile {profile.name}"
        _check_by_model(compression, profile, where)
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


def at_commit(source: str, profile: Profile) -> str:
    """A model's name with the commit that its branch is here (``hub.pinned``), which is what a step's key contains."""
    return source if params.located(source, profile.folder) else hub.pinned(source)


def unpinned(profile: Profile) -> list[str]:
    """The models at a branch or tag of the hub of which nothing has been downloaded, so that no commit is known."""
    every = [at_commit(source, profile) for source in (*profile.models.values(), *sources(profile))]
    found = [source for source in every if ON_HUB.fullmatch(source) and not params.located(source, profile.folder)]
    return [source for source in found if not hub.COMMIT.fullmatch(source.partition("@")[2])]


def concerns(profile: Profile, variant: str, model: str) -> bool:
    """Whether a model of the profile has this variant: it is made, or given for this model, with all that it takes."""
    compression = profile.compressions[variant]
    if compression.is_given:
        return bool(compression.checkpoint_of(model))
    if compression.parameters_of(model).keys() != compression.parameters.keys():
        return False
    return variant == DENSE or compression.base == variant or concerns(profile, compression.base, model)


def _check_by_model(compression: Compression, profile: Profile, where: str) -> None:
    for name, given in compression.parameters.items():
        if not isinstance(given, dict):
            continue
        if name not in BY_MODEL:
            raise ParamsError(
                f"{where} gives {name} for each model; only {', '.join(BY_MODEL)} may differ between the models of one "
                "variant: give one value, or make several variants of it"
            )
        if not given:
            raise ParamsError(f"{where} gives {name} for no model; give a value, or remove it")
        _check_models(given, f"{where} gives {name} for", profile)


def _check_models(given: Iterable[str], what: str, profile: Profile) -> None:
    for model in given:
        if model not in profile.models:
            raise ParamsError(
                f"{what} {model!r}, which is no model of the profile; allowed are "
                f"{', '.join(profile.models)}; {meant(str(model), profile.models) or 'correct or remove it'}"
            )


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
    _check_models(given, f"{where} gives the checkpoint of", profile)
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
