"""Where contexts and recorded answers come from. A spec (frozen, as in a plan) says what; ``open(seed)`` makes it run."""

from guerdon.run.sources.control import Episodes, Fragments
from guerdon.run.sources.cycle import Cycle
from guerdon.run.sources.file import File
from guerdon.run.sources.pictures import Pictures
from guerdon.run.sources.preferences import Demonstrations, Preferences
from guerdon.run.sources.prompts import Prompts
from guerdon.run.sources.recorded import Recorded
from guerdon.run.sources.replay import Replay

__all__ = ["Cycle", "Demonstrations", "Episodes", "File", "Fragments", "Pictures", "Preferences", "Prompts", "Recorded", "Replay"]
