"""A life on disk: what is needed to go on with it in another process."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from local.azurite import Azurite
    from tests.lifetime.life import Lifetime

LIFE, ACCOUNT, WHOLE = "life", "azurite", "kept"


def keep(life: Lifetime, azurite: Azurite, home: Path) -> None:
    """Write a life down, with the storage account that it has in ``home``; the account restarts for that."""
    tenant = life.rig.tenant
    books = tenant.books
    value = {
        "diary": life.diary_to_keep(),
        "log": life.offers.log,
        "chance": life.offers.pick.getstate(),
        "listed": {
            each.content_id: books.listed(each.content_id)
            for contents in life.offers.contents.values()
            for each in contents
        },
        "subscriptions": {each: tenant.subscriptions.status(each) for each in life.audit},
    }
    fresh, old = home / "fresh", home / WHOLE
    shutil.rmtree(fresh, ignore_errors=True)
    azurite.stop()
    shutil.copytree(home / ACCOUNT, fresh / ACCOUNT)
    azurite.start()
    (fresh / LIFE).write_bytes(pickle.dumps(value))
    shutil.rmtree(old, ignore_errors=True)
    fresh.rename(old)


def bring_back(home: Path) -> bool:
    """Put the storage account of a life that was kept back in place; False where there is none."""
    shutil.rmtree(home / ACCOUNT, ignore_errors=True)
    if not (home / WHOLE / LIFE).is_file():
        (home / ACCOUNT).mkdir(parents=True)
        return False
    shutil.copytree(home / WHOLE / ACCOUNT, home / ACCOUNT)
    return True


def go_on(life: Lifetime, home: Path) -> None:
    """Take up a life as it was kept."""
    value = pickle.loads((home / WHOLE / LIFE).read_bytes())
    tenant = life.rig.tenant
    life.diary = value["diary"]
    tenant.advance(life.diary.now - tenant.now())
    life.offers.again(value["log"])
    life.offers.pick.setstate(value["chance"])
    for name, times in Counter(value["listed"]).items():
        tenant.books.note("listed", *[name] * times)
    for source, status in value["subscriptions"].items():
        tenant.subscriptions.set(source, status)
