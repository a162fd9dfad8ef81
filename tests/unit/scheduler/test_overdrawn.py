"""A user who has used more than was given: what the account's shard grants, and what another shard makes of it."""

from __future__ import annotations

from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_scheduler.decisions.budgets import Budget, Standing
from gnomon_scheduler.decisions.purses import Purse

DAY = 20_000
NOW_MS = DAY * 86_400_000


def talk(purse: Purse, budget: Budget, n: int, standing: Standing, *, wanting: int = 0) -> None:
    """The purse states, and hears what it is granted."""
    budget.hear(3, 1, purse.state(n, NOW_MS + n, wanting=wanting), NOW_MS + n)
    grant(purse, budget, n, standing)


def grant(purse: Purse, budget: Budget, n: int, standing: Standing) -> None:
    """The purse hears what there is to be told of its account."""
    budget.give(standing, NOW_MS + n)
    for _, granted in budget.answers():
        assert purse.hear(1, granted)


def test_what_costs_nothing_is_let_go_again_once_the_balance_is_not_below_zero() -> None:
    purse, budget = Purse("a", "u", day=DAY), Budget(BudgetRegister(account="a", user="u"), 8)
    talk(purse, budget, 1, Standing(100), wanting=1)
    assert purse.fits(0)
    purse.take(0)
    purse.fold(120, DAY, 0)
    due_ms = purse.next_ms(0)
    assert due_ms is not None
    assert due_ms < NOW_MS + 100, "what exceeds the grant is told at once"
    talk(purse, budget, 2, Standing(100))
    purse.release(0)
    assert not purse.fits(0), "although none is in flight"
    talk(purse, budget, 3, Standing(100), wanting=1)
    assert purse.shortage == "credits"
    grant(purse, budget, 3, Standing(120))
    assert purse.fits(0)


def test_without_an_account_nothing_is_known_to_be_overdrawn() -> None:
    purse, budget = Purse("a", "u", used=5, day=DAY), Budget(BudgetRegister(account="a", user="u"), 8)
    talk(purse, budget, 1, Standing(0, opened=False), wanting=1)
    assert purse.fits(0)
