from . import clinic_movement_request as clinic_movement_request
from . import ir_model_access as ir_model_access
from . import stock_move as stock_move
from . import stock_picking as stock_picking
