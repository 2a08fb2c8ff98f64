"""What a dedicated Inference Endpoint of the Hub runs; `mtl-bioner-push` puts it into the repository as `handler.py`.

    POST {"inputs": "text" or ["text", ...], "parameters": {"tasks": ["ncbi"], "threshold": 0.5, "overlaps": "best"}}
    -> the pipeline's entities of the text, or a list of them for each text

It travels alone, so it imports nothing of this project. What it raises, the endpoint answers with status 400 and the
message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import pipeline


PARAMETERS = ("tasks", "threshold", "overlaps")
# Of all texts of a request together: a small encoder annotates some 7,000 a second on a core, one of BERT's size a
# tenth of that, and who asks waits no longer than a minute or two.
MAX_CHARACTERS = 100_000


class EndpointHandler:
    """The class, by its name and signature, that the endpoint looks for.

    Args:
        path: folder of the repository on the endpoint's machine.
    """

    def __init__(self, path: str = "") -> None:
        self.pipeline = pipeline("token-classification", model=path, trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> list[Any]:
        """Entities of a request's text or texts, ready to become JSON.

        Raises:
            ValueError, TypeError: no text, too much of it, or a parameter that the pipeline doesn't take.
        """
        inputs, parameters = data.get("inputs"), data.get("parameters") or {}
        texts = [inputs] if isinstance(inputs, str) else inputs
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError('"inputs" must be a text or a list of texts')
        if not isinstance(parameters, Mapping) or not set(parameters) <= set(PARAMETERS):
            raise TypeError(f'"parameters" must be an object that holds none but {", ".join(PARAMETERS)}')
        size = sum(map(len, texts))
        if size > MAX_CHARACTERS:
            raise ValueError(f'"inputs" holds {size:,} characters; send at most {MAX_CHARACTERS:,} in a request')
        return self.pipeline(inputs, **parameters)
