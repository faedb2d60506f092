# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Explore a configuration
# The handbook's producer: `acks=all`, `retries=3`, `enable.idempotence=true`.
# What becomes of its records when the leader crashes, and when the ISR is too small?

# %%
from ksim import Scenario, explain, simulate, sweep

HANDBOOK = [("acks", "all"), ("retries", "3"), ("enable.idempotence", "true")]

# %% [markdown]
# ## The leader crashes
# While connecting fails nothing is sent, so the three retries are hardly touched.

# %%
crash = simulate(Scenario.load("leader-crash").override(HANDBOOK))
print(crash.verdict.verdict, crash.verdict.records["ok"], "of", crash.verdict.records["offered"])
assert crash.verdict.records["ok"] == crash.verdict.records["offered"]

# %% [markdown]
# ## The ISR is below min.insync.replicas
# Each attempt is answered at once. Three retries last less than a second.

# %%
short = simulate(Scenario.load("below-min-isr").override(HANDBOOK))
print(short.verdict.records["failed"], "failed:", short.metrics.errors)
assert short.metrics.errors == {"NotEnoughReplicasException": 200}
print(explain(short, "0"))

# %% [markdown]
# ## Change one line at a time

# %%
table = sweep(Scenario.load("below-min-isr"), over={"producers.p1.config.retries": [3, 10, 2147483647]}, seeds=range(5))
print(table.summary())
table.to_pandas().groupby("producers.p1.config.retries")["failed"].mean()
