#!/usr/bin/env python3
"""Golden effective ranks for effective_rank_test.cc, from numpy's full SVD in double. Run by hand; needs numpy.

Entry k (row-major) of a matrix is hash(k) / 2^24 - 1/2, times 2^-(column / 4) where it decays.
"""
import numpy as np


def matrix(rows, cols, decays):
    h = np.arange(rows * cols, dtype=np.uint32) * np.uint32(2654435761)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    m = (h >> np.uint32(8)).astype(np.float64).reshape(rows, cols) / 2**24 - 0.5
    return np.ldexp(m, -(np.arange(cols) // 4)) if decays else m


def effective_rank(m):
    s = np.linalg.svd(m, compute_uv=False)
    p = s[s > 0] / s.sum()
    return np.exp(-(p * np.log(p)).sum())


for rows, cols, decays in [(1, 7, False), (48, 80, False), (80, 48, False), (300, 129, False), (64, 96, True), (200, 200, True),
                           (512, 1024, False)]:
    print(f'{{{rows}, {cols}, {str(decays).lower()}, {effective_rank(matrix(rows, cols, decays)):.12g}}},')
