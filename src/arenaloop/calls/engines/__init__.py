"""Where calls are made: in this process (`local`), or by workers on a Ray cluster (`ray_engine`).

An engine is given calls and gives back rows (`base.Engine`). It stores nothing, and knows neither keys nor battles: the
executor on the driver alone admits calls and writes what comes of them.
"""
