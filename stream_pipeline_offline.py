"""`StreamSDK` under the name that programs written for Ditto import it from; it serves both pipelines."""

from core.compat import StreamSDK

__all__ = ["StreamSDK"]
