"""Text snippets: as payload of an entry, and as word numbers for a transformer."""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from workloads.rac.encoders import TextEncoder

WORDS = 512
"""Numbers that words are hashed to, 0 for none."""
SNIPPET_WORDS = 16
"""Words read of a snippet; the rest is not."""

FASHION_TEXTS: Mapping[str, str] = {
    "T-shirt/top": "a t-shirt, an upper garment of light cloth with short sleeves",
    "Trouser": "trousers, a lower garment with two long legs",
    "Pullover": "a pullover, a warm upper garment of wool with long sleeves",
    "Dress": "a dress, a long garment for women from shoulder to knee",
    "Coat": "a coat, a warm outer garment with long sleeves and buttons",
    "Sandal": "a sandal, an open shoe with straps for summer",
    "Shirt": "a shirt, an upper garment of light cloth with collar and buttons",
    "Sneaker": "a sneaker, a flat sports shoe with laces",
    "Bag": "a bag, a container with a handle to carry things",
    "Ankle boot": "an ankle boot, a closed shoe with a heel for winter",
}
"""Ours; the data set has names only."""


def class_texts(names: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """The snippet of each class."""
    known = {**FASHION_TEXTS, **given}
    return [known.get(name, f"a photo of a {name}") for name in names]


def pack(text: str, size: int) -> npt.NDArray[np.uint8]:
    """A snippet in UTF-8, cut between characters and padded with zeros. Shape [size]."""
    data = text.replace("\0", " ").encode()[:size].decode(errors="ignore").encode()
    return np.frombuffer(data.ljust(size, b"\0"), np.uint8)


def unpack(payload: bytes) -> str | None:
    """Inverse of ``pack``; None if it is no UTF-8, or has something after a zero."""
    data, _, rest = payload.partition(b"\0")
    if rest.strip(b"\0"):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def word_numbers(text: str) -> npt.NDArray[np.int64]:
    """Numbers of the first words, 1 to WORDS - 1, then 0. Equal on all machines. Shape [16]."""
    numbers = np.zeros(SNIPPET_WORDS, np.int64)
    for place, word in enumerate(re.findall(r"\w+", text.lower())[:SNIPPET_WORDS]):
        hashed = hashlib.blake2b(word.encode(), digest_size=8).digest()
        numbers[place] = 1 + int.from_bytes(hashed, "big") % (WORDS - 1)
    return numbers


class Snippets:
    """Different snippets by number; 0 is the empty one.

    Args:
        encoder: A frozen T; None: snippets are kept as word numbers.
    """

    def __init__(self, encoder: TextEncoder | None) -> None:
        self._encoder = encoder
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []
        self._rows: list[npt.NDArray[np.generic]] = []
        self.number("")

    def number(self, text: str) -> int:
        """The number of a snippet, given on first sight."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            encoder = self._encoder
            self._rows.append(encoder([text])[0] if encoder else word_numbers(text))
        return number

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def rows(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """Word numbers or vectors of some of them. Shape [n, words or dimensions]."""
        return np.stack([self._rows[number] for number in numbers])
