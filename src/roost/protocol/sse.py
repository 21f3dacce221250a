"""What a relay reads in passing of an answer: events, and the usage an engine reports. Pure."""

import re

_PROMPT = re.compile(rb'"(?:prompt_tokens|input_tokens)"\s*:\s*(\d{1,12})')
_COMPLETION = re.compile(rb'"(?:completion_tokens|output_tokens)"\s*:\s*(\d{1,12})')
TAIL_BYTES = 8192
"""How much of an answer's end is searched for usage: engines put it last."""


def usage(tail: bytes) -> tuple[int | None, int | None]:
    """(prompt tokens, completion tokens) as the engine counted them; None where it does not say.

    `tail` is the end of the body. The last mention wins: streams may report running totals.
    """
    at = tail.rfind(b'"usage"')
    if at < 0:
        return None, None
    part = tail[at:]
    prompt, completion = _PROMPT.search(part), _COMPLETION.search(part)
    return (int(prompt[1]) if prompt else None, int(completion[1]) if completion else None)
