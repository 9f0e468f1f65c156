from __future__ import annotations

from typing import Any


class Module:
    def __call__(self, *given: Any) -> Any:
        return self.forward(*given)
