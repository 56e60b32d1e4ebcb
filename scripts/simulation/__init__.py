"""Labelled weeks of use, and how well the detectors of `keyfold.analytics` do on them.

`population` (who there is), `rhythm` (when they work), `life` (deployments, rotations, honest trouble), `traffic` (what
they do), `administration` (what is administered), `victims`, `recipes` and `attacks` (what is wrong, with labels),
`scenario` (all of it in time order), `requests` (the observations that it becomes), `running` (the engine over them),
`matching` and `report` (what was found). Everything is derived from the seed.
"""
