"""Tensors in shared memory, by Triton's protocol: a client on this machine registers a region and names it in requests.

A region is a POSIX shared memory object of the server's user, by its name: never a path. Its bytes are copied with
``pread`` and ``pwrite`` and never mapped, so that an object that shrinks in use gives an error: to touch memory that is
no longer there would kill the server. A copy also means that a client may change the region at any time without
changing what is computed with.
"""

from __future__ import annotations

import os
import re
import stat
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swift_export.errors import InputError, MachineError
from swift_export.serving.access import is_loopback
from swift_export.serving.refusals import Forbidden, Unknown
from swift_export.system.text import listed, shown

__all__ = ["Place", "Region", "Regions", "place_of", "read", "write"]

#: Where Linux keeps the objects: shm_open("/name") opens this folder's file of that name.
_OBJECTS = "/dev/shm"
#: A name as POSIX has it, without dots: among the objects with dots are the semaphores of other programs.
_KEY = re.compile(r"/?([A-Za-z0-9_-]{1,200})")
#: Names of regions appear in addresses and answers.
_NAME = re.compile(r"[A-Za-z0-9_. -]{1,128}")
#: Each region holds a descriptor; and a size that no machine has.
_MOST_REGIONS, _LARGEST = 256, 2**44
_PREFIX = "shared_memory_"


@dataclass(frozen=True)
class Place:
    """Where a tensor of a request is: ``size`` bytes of a region, from ``offset`` of it."""

    region: str
    size: int
    offset: int = 0

    def described(self, size: int) -> dict[str, Any]:
        """The parameters of an output of ``size`` bytes that went there."""
        offset = {f"{_PREFIX}offset": self.offset} if self.offset else {}
        return {f"{_PREFIX}region": self.region, f"{_PREFIX}byte_size": size, **offset}


def place_of(parameters: Mapping[str, Any], where: str) -> Place | None:
    """The place that the parameters of a tensor tell, if they tell one; raises InputError for other values."""
    region = parameters.get(f"{_PREFIX}region")
    if region is None:
        if told := next((key for key in parameters if key.startswith(_PREFIX)), None):
            raise InputError(f"{where}: {shown(told)}: expected the parameter {_PREFIX}region with it, found none")
        return None
    if not isinstance(region, str):
        raise InputError(f"{where}: {_PREFIX}region: expected a name, found {shown(region)}")
    size = _count(parameters.get(f"{_PREFIX}byte_size"), f"{where}: {_PREFIX}byte_size")
    offset = _count(parameters.get(f"{_PREFIX}offset", 0), f"{where}: {_PREFIX}offset")
    return Place(region, size, offset)


@dataclass(frozen=True, eq=False)
class Region:
    """A registered part of an object: ``byte_size`` bytes from ``offset`` of it.

    ``descriptor`` is the open object, which is closed with the last reference to the region: were it closed while a
    request uses it, its number could at once be another file's.
    """

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int

    @property
    def status(self) -> dict[str, Any]:
        """What the protocol tells of it."""
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.byte_size}


class Regions:
    """The registered regions of a server. All methods but `read` and `write` belong to one thread."""

    def __init__(self, enabled: bool):
        self.enabled = enabled
        self._regions: dict[str, Region] = {}

    def allow(self, client: str | None) -> None:
        """Raise Forbidden unless shared memory is on and the client's address is one of this machine."""
        if not self.enabled:
            raise Forbidden("shared memory is off; start the server with --shared-memory")
        if client is None or not is_loopback(client):
            raise Forbidden("expected a client on the server's machine for shared memory, found another")

    def register(self, name: str, key: Any, offset: Any, byte_size: Any) -> None:
        """Open an object and register a part of it.

        Raises InputError for a name that is taken, a key that is no object of the server's user, or a part beyond it.
        """
        where = f"region {shown(name)}"
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}: expected a name of 1 to 128 letters, digits, spaces, - _ and .")
        if name in self._regions:
            raise InputError(f"{where}: expected a new name, found one that is registered; unregister it first")
        if len(self._regions) >= _MOST_REGIONS:
            raise InputError(f"{where}: expected at most {_MOST_REGIONS} regions; unregister another one first")
        start, size = _count(offset, f"{where}: offset"), _count(byte_size, f"{where}: byte_size")
        if size == 0:
            raise InputError(f"{where}: byte_size: expected at least 1, found 0")
        descriptor = _open(key, where)
        try:
            _check_size(descriptor, start + size, where)
        except InputError:
            os.close(descriptor)
            raise
        region = self._regions[name] = Region(name, key, start, size, descriptor)
        weakref.finalize(region, os.close, descriptor)

    def unregister(self, name: str = "") -> None:
        """Forget a region; without a name, all. One that is not registered is no fault, as in Triton."""
        for found in [name] if name else list(self._regions):
            self._regions.pop(found, None)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """The status of a region, or of all; raises Unknown if it is not registered."""
        return [self._region(found).status for found in ([name] if name else self._regions)]

    def find(self, *places: Place) -> dict[Place, Region]:
        """The regions of places.

        Raises Unknown for one that is not registered, InputError for a place beyond its region.
        """
        found: dict[Place, Region] = {}
        for place in places:
            region = found[place] = self._region(place.region)
            if place.offset + place.size > region.byte_size:
                raise InputError(
                    f"region {shown(place.region)}: expected at most {region.byte_size:,} bytes of it, found "
                    f"{place.size:,} from {place.offset:,}"
                )
        return found

    def close(self) -> None:
        """Forget all."""
        self.unregister()

    def _region(self, name: str) -> Region:
        if name not in self._regions:
            raise Unknown(f"region {shown(name)}: expected a registered one, {listed(self._regions) or 'found none'}")
        return self._regions[name]


def read(region: Region, place: Place, target: memoryview) -> None:
    """Copy the bytes at ``place`` into ``target``; raises InputError if the object has become too small."""
    where, start, done = f"region {shown(region.name)}", region.offset + place.offset, 0
    while done < len(target):
        count = os.preadv(region.descriptor, [target[done:]], start + done)
        if count == 0:
            _check_size(region.descriptor, start + len(target), where)
            raise InputError(f"{where}: expected {len(target):,} bytes, found {done:,}; it changed meanwhile")
        done += count


def write(region: Region, place: Place, source: memoryview) -> None:
    """Copy ``source`` to ``place``.

    Raises InputError if that is more than the place, or the object has become too small; MachineError if there is no
    memory for the object, which may be larger than what the machine has.
    """
    where, start, done = f"region {shown(region.name)}", region.offset + place.offset, 0
    if len(source) > place.size:
        raise InputError(f"{where}: expected at least {len(source):,} bytes for an output, found {place.size:,}")
    _check_size(region.descriptor, start + len(source), where)
    try:
        while done < len(source):
            done += os.pwritev(region.descriptor, [source[done:]], start + done)
    except OSError as error:
        raise MachineError(f"{where}: cannot be written: {error.strerror}") from None


def _open(key: Any, where: str) -> int:
    """The descriptor of an object, opened as shm_open does."""
    found = _KEY.fullmatch(key) if isinstance(key, str) else None
    if not found:
        raise InputError(
            f"{where}: key: expected the name of a shared memory object (/ and then letters, digits, - and _), found "
            f"{shown(key)}"
        )
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    absent = InputError(f"{where}: key {found[0]}: expected a shared memory object of the server's user, found none")
    try:
        descriptor = os.open(f"{_OBJECTS}/{found[1]}", flags)
    except OSError:
        raise absent from None
    facts = os.fstat(descriptor)
    # Whether another user's object is there is not told.
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        os.close(descriptor)
        raise absent
    return descriptor


def _check_size(descriptor: int, size: int, where: str) -> None:
    found = os.fstat(descriptor).st_size
    if found < size:
        raise InputError(f"{where}: expected a shared memory object of {size:,} bytes or more, found {found:,}")


def _count(found: Any, where: str) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _LARGEST:
        raise InputError(f"{where}: expected a number of bytes, found {shown(found)}")
    return found
