"""The shapes of what roost has learned of a model, a part of `schemas`. Values only; fields are only ever added."""

from roost.admin.schema_forms import NUMBER, NUMBER_OR_NONE, TEXT_OR_NONE, object_

FORECAST = object_(
    next_s={
        "type": ["number", "null"],
        "description": "In half of all such cases the next request comes within so many seconds.",
    },
    gaps={"type": "number", "description": "Gaps between its requests that this rests on, older ones counting less."},
    chance={"type": "number", "description": "Of a request within `within_s`, 0 to 1."},
    within_s=NUMBER,
    sign=TEXT_OR_NONE,
) | {"type": ["object", "null"], "description": "How soon it is likely wanted; null: nobody has asked for it."}
RETURNS = object_(
    load_s=NUMBER_OR_NONE,
    level1_s=NUMBER_OR_NONE,
    level2_s=NUMBER_OR_NONE,
    down_s=NUMBER_OR_NONE,
) | {
    "type": ["object", "null"],
    "description": "Seconds, as measured, until it is ready from cold and from each level of sleep, and to go down.",
}
