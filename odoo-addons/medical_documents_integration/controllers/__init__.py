from . import content as content
