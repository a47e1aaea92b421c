-- migrate:up
-- Who signed in on a device before is slowed down by that device's own tries, and by no stranger's.
set local role neurant_owner;

drop function private.brake(text, text, inet, timestamptz);
drop function private.release_brake(text, text, inet);
drop function private.brake_keys(text, text, inet);

create function private.brake_keys(p_kind text, p_email text, p_address inet, p_device text)
returns table (key bytea, free integer, longest interval)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_kind, k.scope, k.value), 'UTF8')), k.free, k.longest
  from (
    select host(network(set_masklen(p_address, case family(p_address) when 4 then 32 else 64 end)))
      as address,
      -- A loopback address is a proxy that does not tell for whom it asks.
      coalesce(p_address <<= '127.0.0.0/8' or p_address <<= '::1/128', true) as is_ours) a
  cross join lateral (values
    ('password', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('password', 'pair', case when p_device is null then p_email || '|' || coalesce(a.address, '') end,
      5, interval '15 minutes'),
    ('password', 'login', case when p_device is null then p_email end, 30, interval '5 minutes'),
    ('password', 'address', case when not a.is_ours then a.address end, 50, interval '1 minute'),
    ('code', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('code', 'login', case when p_device is null then p_email end, 5, interval '15 minutes'),
    ('sign_up', 'address', case when not a.is_ours then a.address end, 20, interval '15 minutes'),
    ('reset', 'address', case when not a.is_ours then a.address end, 20, interval '15 minutes')
  ) k (kind, scope, value, free, longest)
  where k.kind = p_kind and k.value is not null
$$;
comment on function private.brake_keys(text, text, inet, text) is
  'What an attempt counts against, how many are free, and the longest wait. A stranger slows other strangers down by five minutes at most, and nobody on a device that was proven before (p_device); an office, or a proxy we do not know, by one.';

create function private.brake(
  p_kind text, p_email text, p_address inet, p_now timestamptz default now(),
  p_device text default null)
returns table (wait integer, next_wait integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_wait interval := '0';
  v_next interval := '0';
  v_known public.account_brakes;
  v_key record;
begin
  -- In one order for everybody: whoever counts the same keys waits, and none waits for another's.
  for v_key in
    select k.* from private.brake_keys(p_kind, p_email, p_address, p_device) k order by k.key
  loop
    insert into public.account_brakes as b (key_digest, touched_at) values (v_key.key, p_now)
    on conflict (key_digest) do update
    set attempts = case when b.touched_at < p_now - interval '1 day' then 0 else b.attempts end,
      touched_at = greatest(b.touched_at, p_now)
    returning b.* into v_known;
    v_wait := greatest(v_wait, v_known.locked_until - p_now);
  end loop;
  if v_wait <= interval '0' then
    for v_key in select k.* from private.brake_keys(p_kind, p_email, p_address, p_device) k loop
      update public.account_brakes b set attempts = b.attempts + 1
      where b.key_digest = v_key.key
      returning b.* into v_known;
      if v_known.attempts >= v_key.free then
        v_known.locked_until := p_now + least(
          v_key.longest, interval '5 seconds' * 2 ^ least(v_known.attempts - v_key.free, 16));
        update public.account_brakes b set locked_until = v_known.locked_until
        where b.key_digest = v_key.key;
        v_next := greatest(v_next, v_known.locked_until - p_now);
      end if;
    end loop;
  end if;
  return query select ceil(extract(epoch from greatest(v_wait, '0')))::integer,
    ceil(extract(epoch from v_next))::integer;
end $$;
comment on function private.brake(text, text, inet, timestamptz, text) is
  'Counts an attempt before it is checked, so that those side by side count, too. wait: seconds that must pass first (then it was not counted, and lengthens nothing), or 0; next_wait: before another one, should this fail. The wait doubles from 5 seconds; a day of quiet forgets. p_device: of a cookie that the process verified. Definer: whoever tries is nobody yet.';

create function private.release_brake(
  p_kind text, p_email text, p_address inet, p_device text default null) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.account_brakes b
  where b.key_digest in (
    select k.key from private.brake_keys(p_kind, p_email, p_address, p_device) k)
  order by b.key_digest for update;
  update public.account_brakes b
  set attempts = case when k.is_shared then greatest(b.attempts - 1, 0) else 0 end,
    locked_until = case when not k.is_shared or b.attempts <= k.free then null else b.locked_until end
  from (
    select s.key, s.free, s.free >= 20 as is_shared
    from private.brake_keys(p_kind, p_email, p_address, p_device) s) k
  where b.key_digest = k.key;
end $$;
comment on function private.release_brake(text, text, inet, text) is
  'The person is who they say: what was counted for them is forgotten; what others share only loses this attempt. Definer, as brake.';

grant execute on function private.brake_keys(text, text, inet, text) to neurant_router;
grant execute on function private.brake(text, text, inet, timestamptz, text),
  private.release_brake(text, text, inet, text) to neurant_app;
alter function private.brake(text, text, inet, timestamptz, text) owner to neurant_router;
alter function private.release_brake(text, text, inet, text) owner to neurant_router;
reset role;
-- migrate:down
