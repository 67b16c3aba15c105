"""Arms whose names are known: the activations, and the arms of the studies in deploy/studies. They keep their colour on every panel."""

import pathlib
import re

_ACTIVATIONS = {"relu": "#a4adb8", "relu2": "#d9a066", "gelu": "#2fcf9f", "swiglu": "#5ab4f0", "polyrelu": "#e59ad6",
                "polynorm": "#ff8a4a", "polyprelu": "#e8c547", "polyrelunorm": "#b48cf2"}
_OTHERS = ["#7fd0ff", "#ffb38a", "#7ee8c4", "#f3c6ea", "#f2dd86", "#cdb5f7", "#f08080", "#c0d860"]


def _colours():
    arms = []
    for study in sorted((pathlib.Path(__file__).parents[2] / "studies").glob("*.yaml")):
        arms += re.findall(r"^  - \{name: ([a-z0-9-]+), set:", study.read_text(), re.MULTILINE)
    others = [arm for arm in dict.fromkeys(arms) if arm not in _ACTIVATIONS]
    return _ACTIVATIONS | {arm: _OTHERS[i % len(_OTHERS)] for i, arm in enumerate(others)}


COLOURS = _colours()
