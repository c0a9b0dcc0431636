"""How hard a lattice attack on (ring) LWE with ternary secrets is, by two published cost models.

The attack is the primal one: the secret and the error are an unusually short vector of a lattice of dimension
d = n + m + 1 (n the secret's dimension, m the equations used, + 1 for the embedding), and BKZ with blocks of beta finds
it once, in the notation of [AGVW17], section 3, after [ADPS16], section 6.3:

    sigma sqrt(beta) <= delta^(2 beta - d - 1) det^(1/d),     det = q^m xi^n,    xi = sigma / std(secret)
    delta = ((pi beta)^(1/beta) beta / (2 pi e))^(1 / (2 (beta - 1)))

xi is the scaling of Bai and Galbraith [BG14]: it makes the secret's part of the short vector as long per coordinate
as the error's. m is chosen for the attacker. The least such beta gives the cost in two models:

    sieve : 0.292 beta + 16.4 + log2(8 d)                 a sieve in dimension beta [BDGL16], 8 d times
    gates : 0.29613 b + 20.388 + log2(5.46 (d - beta + 1))
            b = beta - beta ln(4/3) / ln(beta / (2 pi e))    the gates of a sieve in dimension b, fitted to [MATZOV22];
                                                          beta - b dimensions are free [Duc18], 5.46 = 1/(1 - 2^-0.292)

Limits: this is no run of the lattice-estimator. It knows neither dual nor hybrid attacks, no quantum computer, no
structure of the ring, and no gain from many secrets under one matrix. The lattice-estimator charges progressive sieving
once more than `gates` does, so its figure is about 2.4 bits higher.

Calibration: the HomomorphicEncryption.org standard (2018, table 1, ternary secret, sigma 3.19) states 128 bits for
dimension / log2 q = 1024/27, 2048/54, 4096/109, 8192/218. Our models say 131/126, 129/124, 127/123, 128/123: `sieve`
follows the table within three bits, `gates` is the stricter one by four to five bits. All figures are pinned by
`tests/test_private_parameters.py`.

Sources: [ADPS16] Alkim, Ducas, Poeppelmann, Schwabe, USENIX Security 2016. [AGVW17] Albrecht, Goepfert, Virdia,
Wunderer, ASIACRYPT 2017. [BDGL16] Becker, Ducas, Gama, Laarhoven, SODA 2016. [BG14] Bai, Galbraith, ACISP 2014.
[Duc18] Ducas, EUROCRYPT 2018. [MATZOV22] MATZOV, Report on the security of LWE, 2022.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["primal_attack", "primal_bits"]

SECRET_STD = math.sqrt(2 / 3)  # of a uniform value of {-1, 0, 1}
SMALLEST_BLOCK, LARGEST_BLOCK = 60, 4000  # below, the formula for delta does not hold


def primal_bits(dimension: int, log2_modulus: float, sigma: float) -> tuple[int, int]:
    """Estimate the security of (ring) LWE with a ternary secret.

    Parameters
    ----------
    dimension : n, the dimension of the ring or of the secret
    log2_modulus : log2 of the modulus q
    sigma : standard deviation of the error

    Returns
    -------
    The bits of the two cost models `sieve` and `gates`, rounded down.

    Examples
    --------
    >>> primal_bits(1024, 27, 3.19)
    (131, 126)
    """
    block, lattice = primal_attack(dimension, log2_modulus, sigma)
    sieve = 0.292 * block + 16.4 + math.log2(8 * lattice)
    sieved = block - block * math.log(4 / 3) / math.log(block / (2 * math.pi * math.e))
    gates = 0.29613 * sieved + 20.388 + math.log2(5.46 * (lattice - block + 1))
    return math.floor(sieve), math.floor(gates)


def primal_attack(dimension: int, log2_modulus: float, sigma: float) -> tuple[int, int]:
    """Return the least block size that finds the secret, and the lattice's dimension at which it does so best."""
    equations = np.arange(dimension // 5, 4 * dimension)
    lattices = dimension + equations + 1
    log_volume = equations * log2_modulus * math.log(2) + dimension * math.log(sigma / SECRET_STD)
    log_root = log_volume / lattices

    low, high = SMALLEST_BLOCK, LARGEST_BLOCK
    while low < high:
        block = (low + high) // 2
        reached = (2 * block - lattices - 1) * _log_delta(block) + log_root
        if reached.max() >= math.log(sigma) + math.log(block) / 2:
            high = block
        else:
            low = block + 1
    best = np.argmax((2 * low - lattices - 1) * _log_delta(low) + log_root)
    return low, int(lattices[best])


def _log_delta(block: int) -> float:
    """Return ln of the root Hermite factor that BKZ with this block size reaches."""
    return (math.log(math.pi * block) / block + math.log(block / (2 * math.pi * math.e))) / (2 * (block - 1))
