from . import test_patients as test_patients
