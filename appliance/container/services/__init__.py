# SPDX-License-Identifier: MIT
"""Two reference services that run in a consumer container, made to be copied (docs/services.md).

`python -m services.sky_analysis` and `python -m services.vehicle_counting`. What they compute is in classes without
any input or output (`sky`, `visibility`, `vehicle_counter` and what it stands on); `consumer_loop` is all that knows
where frames come from and where results go.
"""
