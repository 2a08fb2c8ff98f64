"""Answer the requests of a dedicated Inference Endpoint; `mtl-bioner-push` puts this file into the repository.

    POST {"inputs": "text" or ["text", ...], "parameters": {"tasks": ["ncbi"], "threshold": 0.5, "overlaps": "best"}}
    -> the pipeline's entities of the text, or a list of them for each text

It travels alone, so it imports nothing of this project. The endpoint answers an exception with status 400 and its
message.
"""

from __future__ import annotations  # other Python versions run this file

from collections.abc import Mapping
from typing import Any

from transformers import pipeline


PARAMETERS = ("tasks", "threshold", "overlaps")
# In one request: on a core, a small encoder reads them in 15 seconds, one of BERT's size in two or three minutes.
MAX_CHARACTERS = 100_000
MAX_TEXTS = 1_000  # each of which costs something, even an empty one


class EndpointHandler:
    """Annotate texts; the endpoint looks for a class of this name and signature.

    Args:
        path: folder of the repository on the endpoint's machine.
    """

    def __init__(self, path: str = "") -> None:
        self.pipeline = pipeline("token-classification", model=path, trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> list[Any]:
        """Return the entities of a request's text or texts, ready to become JSON.

        Raises:
            ValueError, TypeError: no object, no text, too much of it, or a parameter that the pipeline doesn't take.
        """
        if not isinstance(data, Mapping):
            raise TypeError('the body of a request must be an object with "inputs"')
        inputs, parameters = data.get("inputs"), data.get("parameters") or {}
        texts = [inputs] if isinstance(inputs, str) else inputs
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError('"inputs" must be a text or a list of texts')
        if not isinstance(parameters, Mapping) or not set(parameters) <= set(PARAMETERS):
            raise TypeError(f'"parameters" must be an object that holds none but {", ".join(PARAMETERS)}')
        if len(texts) > MAX_TEXTS:
            raise ValueError(f'"inputs" holds {len(texts):,} texts; send at most {MAX_TEXTS:,} in a request')
        size = sum(map(len, texts))
        if size > MAX_CHARACTERS:
            raise ValueError(f'"inputs" holds {size:,} characters; send at most {MAX_CHARACTERS:,} in a request')
        return self.pipeline(inputs, **parameters)
