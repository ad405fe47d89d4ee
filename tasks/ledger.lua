-- The ledger of a run's open batches. Each call is one step, on the server's clock, and safe to repeat.
-- KEYS (all of one run): 1 state  2 open  3 sizes  4 leases  5 attempts  6 due  7 dead  8 suspicions  9 counted
-- 10 loading
-- ARGV[1] names the step; the rest are its arguments. A lease reads "expiry|owner|delivery".
-- Data model and lifetimes: tasks/keys.py.

local state, open, sizes, leases, attempts, due, dead, suspicions, counted, loading = unpack(KEYS)
local step, batch = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function lease_of(b)
  local lease = redis.call('HGET', leases, b)
  if not lease then return nil end
  local expiry, owner, delivery = string.match(lease, '^([^|]*)|([^|]*)|(.*)$')
  return tonumber(expiry), owner, delivery
end

-- Whoever else can write to this Redis may have left anything: what is no count is none.
local function count(text)
  return tonumber(string.match(text or '', '^%d+$') or '0')
end

local function add(field, n)
  if type(redis.pcall('HINCRBY', state, field, n)) == 'table' then redis.call('HSET', state, field, n) end
end

local function uncount_attempt(b, wanted)
  if wanted == '1' and count(redis.call('HGET', attempts, b)) > 0 then
    redis.call('HINCRBY', attempts, b, -1)
  end
end

local function stopped()
  local s = redis.call('HGET', state, 'state')
  if s and s ~= 'running' then return s end
  return nil
end

-- publish(batch, bytes): the batch is in flight from now on; unless the run has ended, or was forgotten: whoever led it
-- has to look first whether it was also cancelled.
if step == 'publish' then
  local s = redis.call('HGET', state, 'state')
  if s ~= 'running' then return {'STOPPED', s or 'unknown'} end
  redis.call('ZADD', open, now, batch)
  redis.call('HSET', sizes, batch, ARGV[3])
  redis.call('SREM', due, batch)
  return {'OK'}
end

-- claim(batch, owner, delivery, lease_s, max_attempts): the attempt is counted here, before any work.
-- A client that repeats the call after a lost reply is known by its delivery and is not counted twice.
-- A batch that is not in flight was closed since its message was sent: opened again, it would be counted twice.
if step == 'claim' then
  local s = stopped()
  if s then return {'STOPPED', s} end
  if redis.call('HEXISTS', dead, batch) == 1 then return {'DEAD', '0'} end
  if not redis.call('ZSCORE', open, batch) then return {'CLOSED', '0'} end
  local expiry, owner, delivery = lease_of(batch)
  if expiry and delivery == ARGV[4] then
    return {'RUN', tostring(math.max(1, count(redis.call('HGET', attempts, batch))))}
  end
  if expiry and expiry > now then return {'LEASED', owner} end
  local n = count(redis.call('HGET', attempts, batch)) + 1
  if n > tonumber(ARGV[6]) then return {'EXHAUSTED', tostring(n - 1)} end
  redis.call('HSET', attempts, batch, n)
  redis.call('HSET', leases, batch, (now + tonumber(ARGV[5])) .. '|' .. ARGV[3] .. '|' .. ARGV[4])
  redis.call('SREM', due, batch)
  return {'RUN', tostring(n)}
end

-- renew(batch, delivery, lease_s): called after each micro-batch; only progress renews a lease.
if step == 'renew' then
  local s = stopped()
  if s then return {'STOPPED', s} end
  local expiry, owner, delivery = lease_of(batch)
  if not expiry then
    -- Redis forgot (flushed): go on, the commit decides.
    return {'FORGOTTEN'}
  end
  if delivery ~= ARGV[3] then return {'LOST', owner} end
  redis.call('HSET', leases, batch, (now + tonumber(ARGV[4])) .. '|' .. owner .. '|' .. delivery)
  return {'OK'}
end

-- close(batch, documents, rows, rejects, tokens): committed; counted once however often it is closed, also where a
-- sweep that saw it before it was committed has put it in flight once more since.
if step == 'close' then
  redis.call('HDEL', leases, batch)
  redis.call('HDEL', attempts, batch)
  redis.call('HDEL', sizes, batch)
  redis.call('HDEL', dead, batch)
  redis.call('HDEL', suspicions, batch)
  redis.call('SREM', due, batch)
  if redis.call('ZREM', open, batch) == 1 and redis.call('SETBIT', counted, batch, 1) == 0 then
    add('batches', 1)
    add('documents', ARGV[3])
    add('rows', ARGV[4])
    add('quarantined', ARGV[5])
    add('tokens', ARGV[6])
    redis.call('HSET', state, 'closed_at', now)
    return {'CLOSED'}
  end
  return {'ALREADY'}
end

-- release(batch, delivery, uncount): handed back, to be published again at once, unless it is no longer in flight or
-- somebody else holds it; uncount = '1' where the batch is not to blame (shutdown, storage, Redis).
if step == 'release' then
  local expiry, _, delivery = lease_of(batch)
  if expiry and delivery ~= ARGV[3] then return {'KEPT'} end
  if expiry then
    redis.call('HDEL', leases, batch)
    uncount_attempt(batch, ARGV[4])
  end
  if redis.call('ZSCORE', open, batch) then redis.call('SADD', due, batch) end
  return {'OK'}
end

-- bury(batch, reason): a dead letter; it leaves the window so that the run can finish around it.
if step == 'bury' then
  redis.call('HSET', dead, batch, ARGV[3])
  redis.call('HDEL', leases, batch)
  redis.call('HDEL', attempts, batch)
  redis.call('HDEL', sizes, batch)
  redis.call('SREM', due, batch)
  redis.call('ZREM', open, batch)
  return {'OK'}
end

-- sweep(): the whole window in one reading: now, then per open batch: batch, published, lease expiry (0: none), due.
if step == 'sweep' then
  local result = {tostring(now)}
  local entries = redis.call('ZRANGE', open, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    local expiry = lease_of(entries[i]) or 0
    result[#result + 1] = entries[i]
    result[#result + 1] = entries[i + 1]
    result[#result + 1] = tostring(expiry)
    result[#result + 1] = tostring(redis.call('SISMEMBER', due, entries[i]))
  end
  return result
end

-- abandon(owner, uncount, blamed): the owner is known to be gone; whatever it held is due again. Where a batch is
-- blamed for that, the others (computed, and about to be committed) get their attempts back in any case.
if step == 'abandon' then
  local released = {}
  redis.call('HDEL', loading, ARGV[2])
  local entries = redis.call('HGETALL', leases)
  for i = 1, #entries, 2 do
    local _, owner = lease_of(entries[i])
    if owner == ARGV[2] then
      redis.call('HDEL', leases, entries[i])
      uncount_attempt(entries[i], (ARGV[4] == '' or ARGV[4] == entries[i]) and ARGV[3] or '1')
      redis.call('SADD', due, entries[i])
      released[#released + 1] = entries[i]
    end
  end
  return released
end

return redis.error_reply('unknown step ' .. tostring(step))
