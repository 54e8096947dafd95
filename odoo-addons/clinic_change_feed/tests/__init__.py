from . import (
    test_access as test_access,
)
from . import (
    test_cursor as test_cursor,
)
from . import (
    test_page as test_page,
)
from . import (
    test_prune as test_prune,
)
from . import (
    test_stream as test_stream,
)
from . import (
    test_triggers as test_triggers,
)
from . import (
    test_watch as test_watch,
)
