"""Why a slot of a task ran or did not: from what is stored about it, as a plain function of those facts.

Three kinds of question, answered in this order. *It has a chain* (`chains`): the events of the execution tell it all.
*It was passed over in bulk* (`spans`): the event of the span tells which rule did. *Nothing is recorded*: then the
schedule that was in force at that instant says whether it is a slot at all (`past`, `no_slots`), and time says whether
it is still to come (`coming`), and what may be in its way.

Every explanation is told in steps, as far as they are known: `schedule` (the revision in force), `slot`, what decided
about it (`policy`, `queued`, or the outcome itself with what it rested on), `lease` (the epoch of the shard's leader
that handed it out), `due` (published when, at which sequence of `TASK_DUE`), `started`, `retrying`, `executed` … as
the events are called, and `projection` (how far the read models are).

Nothing is guessed: what is not recorded is not told. A policy that decided without leaving an event (a slot that was
handed out in time, say) is seen by its result alone. `reading` collects the facts.
"""

from __future__ import annotations

from gnomon_api.explaining.facts import Change, Explanation, Facts, Revision, Span, Step, verdicts
from gnomon_api.explaining.verdict import explain

__all__ = ["Change", "Explanation", "Facts", "Revision", "Span", "Step", "explain", "verdicts"]
