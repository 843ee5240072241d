"""What most raises or lowers the passenger's chance of survival, in log-odds.

Mage sets `df_1`, the output of the block that the chart is of, and draws no negative bars.
"""

largest = sorted(df_1["contributions"].items(), key=lambda item: -abs(item[1]))[:10]
x = [f"{name} {'raises' if value > 0 else 'lowers'}" for name, value in largest]
y = [abs(value) for _, value in largest]
