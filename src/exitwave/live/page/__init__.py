"""The page that an operator watches: one session of plain threads, a server that only moves messages, a browser that draws them.

Importing this room loads no web framework; `exitwave.live.page.server` does.
"""

from exitwave.live.page.guard import Guard, guard_of
from exitwave.live.page.notebook import widget
from exitwave.live.page.scene import Scene, scene_of, settings_for
from exitwave.live.page.session import Doing, Session, Snapshot
from exitwave.live.page.settings import Change, Command, Settings

__all__ = ["Change", "Command", "Doing", "Guard", "Scene", "Session", "Settings", "Snapshot", "guard_of", "scene_of", "settings_for",
           "widget"]
