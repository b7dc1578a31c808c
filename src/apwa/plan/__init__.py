"""Plans: steps, templates and contracts, as text, as data, checked, and compiled for workers.

Pure data and checks. It makes no model call, reads no table's rows and runs no SQL: what needs
a query's shape is handed the function that finds it.
"""

from apwa.plan.check import check_plan
from apwa.plan.contract import Contract, ContractBroken
from apwa.plan.lineage import Origin
from apwa.plan.loading import dump_plan, load_plan, plan_from
from apwa.plan.mapping import answer_schema, answers_to_arrow
from apwa.plan.model import (
    SET_OTHERWISE,
    Plan,
    QueryStep,
    Reduce,
    RowsStep,
    Step,
    TableDecl,
    TemplateStep,
    plan_json_schema,
)
from apwa.plan.places import Places
from apwa.plan.policy import Destination, Policy, Rule, rules_of, unmatched
from apwa.plan.shapes import CheckedPlan, GrantCard, TableShape
from apwa.plan.shortform import contract_schema
from apwa.plan.templates import (
    build_spec,
    canonical_values,
    image_tokens,
    images_of,
    placeholders,
    user_message,
    with_images,
)

__all__ = [
    "SET_OTHERWISE",
    "CheckedPlan",
    "Contract",
    "ContractBroken",
    "Destination",
    "GrantCard",
    "Origin",
    "Places",
    "Plan",
    "Policy",
    "QueryStep",
    "Reduce",
    "RowsStep",
    "Rule",
    "Step",
    "TableDecl",
    "TableShape",
    "TemplateStep",
    "answer_schema",
    "answers_to_arrow",
    "build_spec",
    "canonical_values",
    "check_plan",
    "contract_schema",
    "dump_plan",
    "image_tokens",
    "images_of",
    "load_plan",
    "placeholders",
    "plan_from",
    "plan_json_schema",
    "rules_of",
    "unmatched",
    "user_message",
    "with_images",
]
