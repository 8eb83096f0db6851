"""Words as AutoAWQ and AutoGPTQ pack integers into them, written by the definition."""

import numpy as np

# AutoAWQ's gemm: of every eight outputs, the one whose number is in the lowest four bits of a word, and so on.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def packed(numbers, bits, axis, order=None):
    """Words of 32 bits, by the definition: number k of a run at bits k * ``bits`` and above."""
    run = 32 // bits
    numbers = np.moveaxis(numbers, axis, 0).astype(np.uint64)
    words = np.zeros((len(numbers) // run, *numbers.shape[1:]), np.uint64)
    for word in range(len(words)):
        for place in range(run):
            source = order[place] if order else place
            words[word] |= numbers[run * word + source] << np.uint64(bits * place)
    return np.ascontiguousarray(np.moveaxis(words.astype(np.uint32).view(np.int32), 0, axis))
