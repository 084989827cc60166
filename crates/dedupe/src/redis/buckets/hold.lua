-- Renews, releases or dead-letters a batch of ids of one shard, where the token allows it; or
-- takes marks away that are still the very ones that the caller knows.
--
-- KEYS     as in claim.lua
-- ARGV[1]  g, the caller's guess        ARGV[2]  window, ms
-- ARGV[3]  token, 8 bytes; empty: none  ARGV[4]  'renew', 'release', 'dead' or 'reopen'
-- ARGV[5]  lease, ms                    ARGV[6]  ids, 16 bytes each
-- ARGV[7]  fingerprints, 8 bytes each   ARGV[8…] for each group how many ids it has,
--                                                then for 'dead' and 'reopen' the mark of each id
--
-- Out: for each id 1 where it was done and 0 where not, and Redis' time in ms. No digits: the
-- guess was too far off.
local window = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 3 + math.floor(now / window) - tonumber(ARGV[1])
if at < 2 or at > 4 then return {'', now} end

local token, what, ids, prints = ARGV[3], ARGV[4], ARGV[6], ARGV[7]
local sub, byte = string.sub, string.byte
local held = token .. string.format('%d', now + tonumber(ARGV[5]))
local rank = {[80] = 0, [88] = 1, [68] = 2}
local groups, digits, first = #KEYS / 4, {}, 0

for group = 0, groups - 1 do
  local n, fields, set, k, gone = tonumber(ARGV[8 + group]), {}, {}, 0, {}
  for i = 1, n do fields[i] = sub(ids, (first + i) * 16 - 15, (first + i) * 16) end
  local current, previous = KEYS[group * 4 + at], KEYS[group * 4 + at - 1]
  local newer = redis.call('HMGET', current, unpack(fields))
  local older = redis.call('HMGET', previous, unpack(fields))
  for i = 1, n do
    local v, o, p = newer[i], older[i], first + i
    if o and (not v or (rank[byte(o, 1)] or 3) > (rank[byte(v, 1)] or 3)) then v = o end
    local state = v and byte(v, 1)
    local mine = state == 80 and sub(v, 10, 17) == token
    local done = mine
    if what == 'dead' then done = state ~= 68 and (state ~= 80 or mine or token == '') end
    if what == 'reopen' then done = v == ARGV[7 + groups + p] end
    if done and (what == 'release' or what == 'reopen') then gone[#gone + 1] = fields[i]
    elseif done then
      set[k + 1] = fields[i]
      -- In the hash of now, so that it is seen for as long as one written anew.
      set[k + 2] = what == 'dead' and ARGV[7 + groups + p]
        or 'P' .. sub(prints, p * 8 - 7, p * 8) .. held
      k = k + 2
    end
    digits[p] = done and '1' or '0'
  end
  if #gone > 0 then
    redis.call('HDEL', current, unpack(gone))
    redis.call('HDEL', previous, unpack(gone))
  end
  if k > 0 then
    redis.call('HSET', current, unpack(set))
    redis.call('PEXPIRE', current, 2 * window + 600000, 'NX')
  end
  first = first + n
end
return {table.concat(digits), now}
