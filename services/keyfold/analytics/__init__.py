"""Analytics: an ordinary reader of the event stream that notices unusual use while it happens.

The core is pure and runs alike on the live log and on history: `observations` (what of an event counts), `ticks` (ten
seconds of one entity), `detectors`, `engine` (from ticks to findings), `incidents`. Around it: the Faust application
(`app`), and the command line's backtest.
"""
