-- KEYS: one hash per budget, the widest last. ARGV: 1 to reserve or 0 to adjust, max_wait or hold,
-- then for each budget three buckets of (capacity or -1, part, most or -1), dollars, number of
-- periods, and for each period its name, limit and seconds left.
local clock = redis.call('TIME')
local time = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local reserving, wait, at_arg, budgets = ARGV[1] == '1', 0, 3, {}
for k = 1, #KEYS do
  local saved = redis.call('HMGET', KEYS[k], 'at', 'hold', '1', '2', '3')
  local at, hold, now = tonumber(saved[1]) or time, tonumber(saved[2]) or 0, time
  if now < at then now = at end  -- a clock that runs backwards stands still
  local one = {now = now, hold = hold, levels = {}, caps = {}, parts = {}, most = {}, periods = {}}
  wait = math.max(wait, hold - now)
  for i = 1, 3 do
    local capacity, part = tonumber(ARGV[at_arg]), tonumber(ARGV[at_arg + 1])
    one.caps[i], one.parts[i], one.most[i] = capacity, part, tonumber(ARGV[at_arg + 2])
    at_arg = at_arg + 3
    if capacity >= 0 then
      local level = tonumber(saved[i + 2]) or capacity
      one.levels[i] = math.min(capacity, level + (now - at) * capacity / 60)
      if reserving and part > 0 and part > one.levels[i] then
        wait = math.max(wait, (part - one.levels[i]) * 60 / capacity)
      end
    end
  end
  one.usd = tonumber(ARGV[at_arg])
  local count = tonumber(ARGV[at_arg + 1])
  at_arg = at_arg + 2
  for p = 1, count do
    local name, limit, lasts = ARGV[at_arg], tonumber(ARGV[at_arg + 1]), tonumber(ARGV[at_arg + 2])
    local spent = tonumber(redis.call('HGET', KEYS[k], name)) or 0
    if reserving and one.usd > 0 and spent + one.usd > limit then wait = math.max(wait, lasts) end
    one.periods[p] = {name = name, spent = spent, lasts = lasts}
    at_arg = at_arg + 3
  end
  budgets[k] = one
end
if reserving and wait > tonumber(ARGV[2]) then return {0, string.format('%.6f', wait)} end
for k = 1, #KEYS do
  local one, sign = budgets[k], reserving and -1 or 1
  if not reserving and k == #KEYS then
    one.hold = math.max(one.hold, one.now + tonumber(ARGV[2]))
  end
  local full = math.max(0, one.hold - one.now)
  for i = 1, 3 do
    if one.caps[i] >= 0 then
      local level = math.min(one.caps[i], one.levels[i] + sign * one.parts[i])
      if one.most[i] >= 0 then level = math.min(level, one.most[i]) end
      redis.call('HSET', KEYS[k], tostring(i), string.format('%.6f', level))
      if one.caps[i] > 0 then full = math.max(full, (one.caps[i] - level) * 60 / one.caps[i]) end
    end
  end
  for _, period in ipairs(one.periods) do
    if one.usd ~= 0 then
      local spent = math.max(0, period.spent - sign * one.usd)
      redis.call('HSET', KEYS[k], period.name, string.format('%.9f', spent))
    end
    full = math.max(full, period.lasts)
  end
  redis.call('HSET', KEYS[k], 'at', string.format('%.6f', one.now),
             'hold', string.format('%.6f', one.hold))
  redis.call('PEXPIRE', KEYS[k], math.ceil(full * 1000) + 1000)
end
return {1, string.format('%.6f', math.max(0, wait))}
