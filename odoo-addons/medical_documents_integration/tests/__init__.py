from . import test_access as test_access
from . import test_content as test_content
from . import test_notify as test_notify
from . import test_outbox as test_outbox
from . import test_publisher as test_publisher
