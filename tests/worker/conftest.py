"""Microsoft's runtime exists from Python 3.13 on; where it is not there, its tests are not collected."""

from __future__ import annotations

from local.worker import available

collect_ignore_glob = [] if available() else ["test_*.py"]
