"""A cache of keys and values in 8, 4 or 2 bits: see ``checkpoints.quantized_cache``. The weights stay as they are."""

from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, quantized_cache

VERSION = "2"


def compress(
    model: PreTrainedModel,
    *,
    keys: str = "int8",
    values: str = "int8",
    group_size: int = 32,
    hadamard: bool = False,
    per_channel: bool = False,
) -> PreTrainedModel:
    """Let a model read its keys and values from a quantized cache, in place, and return it.

    ``keys`` and ``values`` are int8, int4, int2, or empty for the model's own type; ``group_size`` consecutive
    channels of a head share a scale and a lowest value, with ``hadamard`` after a rotation of these channels. With
    ``per_channel``, it is each channel of so many consecutive tokens in the keys (KIVI). A ``ValueError`` names a
    setting that is not allowed, a family that cannot be read so, or a model whose cache is quantized already.
    """
    decoder.check_cache(model)
    settings = quantized_cache.Settings(keys, values, group_size, hadamard, per_channel)
    setattr(model.config, decoder.CACHE, settings._asdict())
    try:
        return quantized_cache.attach(model)
    except ValueError:
        delattr(model.config, decoder.CACHE)
        raise
