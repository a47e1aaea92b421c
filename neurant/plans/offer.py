"""The features that a plan of the catalogue lacks, and the plans that a company may try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from neurant.core.settings import MEGABYTE
from neurant.plans.queries import Plan, Subscription

LIMITS = (
    "monthly_message_limit", "max_chatbots", "max_users", "max_integrations",
    "max_document_characters", "max_storage_mb", "max_hitl_concurrent",
)  # fmt: skip
Feature = Literal["documents", "people", "integrations"]


def limit_of(plan: Plan, limit: str) -> int:
    """Return a limit of a plan in the unit of its usage; storage in bytes."""
    value: int = getattr(plan, limit)
    return value * MEGABYTE if limit == "max_storage_mb" and value > 0 else value


def missing_features(plan: Plan) -> list[Feature]:
    """Return the features that a plan lacks, because one of their limits is zero."""
    needed: dict[Feature, tuple[int, ...]] = {
        "documents": (plan.max_document_characters, plan.max_storage_mb),
        "people": (plan.max_hitl_concurrent,),
        "integrations": (plan.max_integrations,),
    }
    return [feature for feature, limits in needed.items() if 0 in limits]


def plans_to_try(plans: Sequence[Plan], now: Subscription, days: int) -> list[Plan]:
    """Return the plans with documents that a company may try, the best fitting one first.

    Plans with people come before plans without, and then the smallest first. The list is empty if
    the installation offers no trials (``days`` is 0), or if the company has had its trial, pays for
    a plan or is closed; the database decides by the same rules (``private.start_trial``).
    """
    if days == 0 or now.plan != "free" or now.has_tried or now.is_closed:
        return []
    sold = [one for one in plans if one.plan != "free" and one.monthly_price_usd is not None]
    with_documents = [one for one in sold if "documents" not in missing_features(one)]
    return sorted(with_documents, key=lambda one: ("people" in missing_features(one), one.rank))
