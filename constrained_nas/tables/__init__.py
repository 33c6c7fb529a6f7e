"""Tables of language models, and what is chosen from them, as other programs' files."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.tables.bit_tables import BITS, BitTable, read_bit_table
    from constrained_nas.tables.layer_files import layer_configuration, save_choice, tensor_types
    from constrained_nas.tables.lookups import Lookup, is_pickle, number_of, read_lookup
    from constrained_nas.tables.operator_lists import operator_names, record_keys

__getattr__ = on_demand(__name__)
