from . import clinic_change, res_company
