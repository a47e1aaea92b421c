-- Throttling of logins: how often an address or an account may try.

create table public.account_brakes (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  attempts integer not null default 0 check (attempts >= 0),
  locked_until timestamptz,
  mailed_at timestamptz[] not null default '{}',
  touched_at timestamptz not null
);
comment on table public.account_brakes is
  'Attempts and mails by login, by login and address, and by address, shared by all web processes, so that guessing and mailing are throttled. It holds digests only.';
create index account_brakes_touched_idx on public.account_brakes (touched_at);

alter table public.account_brakes enable row level security, force row level security;
create policy router_select on public.account_brakes for select to neurant_router using (true);
create policy router_insert on public.account_brakes for insert to neurant_router with check (true);
create policy router_update on public.account_brakes for update to neurant_router using (true) with check (true);
create policy router_delete on public.account_brakes for delete to neurant_router using (true);
grant select, insert, delete on public.account_brakes to neurant_router;
grant update (attempts, locked_until, mailed_at, touched_at) on public.account_brakes to
  neurant_router;

create table private.attempts (
  id uuid primary key default uuidv7(),
  kind text not null check (kind in ('found_company', 'check_company_name')),
  address inet not null,
  attempted_at timestamptz not null default now()
);
comment on table private.attempts is
  'Attempts of the last day by people who are not signed in, by address, for the limits on them.';
create index attempts_address_idx on private.attempts (kind, address, attempted_at);
create index attempts_age_idx on private.attempts (attempted_at);

alter table private.attempts enable row level security, force row level security;
create policy router_select on private.attempts for select to neurant_router using (true);
create policy router_insert on private.attempts for insert to neurant_router with check (true);
create policy router_delete on private.attempts for delete to neurant_router using (true);
grant select, insert, delete on private.attempts to neurant_router;

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
  'Counts an attempt before it is checked, so that concurrent attempts count as well. wait: seconds that must pass first (the attempt was then not counted and does not lengthen the wait), or 0; next_wait: seconds before another attempt, should this one fail. The wait doubles from 5 seconds; the counter is reset after a day without attempts. p_device: the device of a cookie that the process verified. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.brake(text, text, inet, timestamptz, text) to neurant_app;

create function private.brake_keys(p_kind text, p_email text, p_address inet, p_device text)
returns table (key bytea, free integer, longest interval)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_kind, k.scope, k.value), 'UTF8')), k.free, k.longest
  from (
    -- Whoever has one IPv6 address has its whole /64.
    select host(network(set_masklen(p_address, case family(p_address) when 4 then 32 else 64 end)))
      as address) a
  cross join lateral (values
    ('password', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('password', 'pair', case when p_device is null then p_email || '|' || coalesce(a.address, '') end,
      5, interval '15 minutes'),
    ('password', 'login', case when p_device is null then p_email end, 30, interval '5 minutes'),
    ('password', 'address', a.address, 50, interval '1 minute'),
    ('code', 'device', p_email || '|' || p_device, 5, interval '15 minutes'),
    ('code', 'login', case when p_device is null then p_email end, 5, interval '15 minutes'),
    ('sign_up', 'address', a.address, 20, interval '15 minutes'),
    ('reset', 'address', a.address, 20, interval '15 minutes'),
    ('sso', 'address', a.address, 60, interval '1 minute')
  ) k (kind, scope, value, free, longest)
  where k.kind = p_kind and k.value is not null
$$;
comment on function private.brake_keys(text, text, inet, text) is
  'Returns the keys that an attempt counts against, with the free attempts and the longest wait of each. A stranger can delay other strangers at a login by five minutes at most, and never a person on a device proven before (p_device); people at the same address wait a minute at most. Loopback is an address like any other, because the process passes on the client behind a trusted proxy. An attempt without an address counts against no address.';
grant execute on function private.brake_keys(text, text, inet, text) to neurant_router;

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
  'Resets, after a successful check, the keys of the person; keys that others share lose only this attempt. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.release_brake(text, text, inet, text) to neurant_app;

create function private.allow_mail(
  p_purpose text, p_email text, p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_key bytea := private.mail_key(p_purpose, p_email);
  v_day timestamptz[];
  v_hour timestamptz[];
begin
  insert into public.account_brakes as b (key_digest, touched_at) values (v_key, p_now)
  on conflict (key_digest) do update set touched_at = greatest(b.touched_at, p_now);
  select coalesce(array_agg(s.at order by s.at), '{}') into v_day
  from public.account_brakes b cross join lateral unnest(b.mailed_at) s (at)
  where b.key_digest = v_key and s.at > p_now - interval '1 day';
  v_hour := array(select s.at from unnest(v_day) s (at) where s.at > p_now - interval '1 hour' order by s.at);
  if v_day[cardinality(v_day)] > p_now - interval '60 seconds' then
    return ceil(extract(epoch from v_day[cardinality(v_day)] + interval '60 seconds' - p_now));
  elsif cardinality(v_hour) >= 5 then
    return ceil(extract(epoch from v_hour[1] + interval '1 hour' - p_now));
  elsif cardinality(v_day) >= 30 then
    return ceil(extract(epoch from v_day[1] + interval '1 day' - p_now));
  end if;
  update public.account_brakes b set mailed_at = v_day || p_now where b.key_digest = v_key;
  return 0;
end $$;
comment on function private.allow_mail(text, text, timestamptz) is
  'Returns 0 and counts a mail, if an address may be written to for this purpose (sign_up, verification, reset); else the seconds until then. The limits: one a minute, five an hour, thirty a day; addresses without an account count alike. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.allow_mail(text, text, timestamptz) to neurant_app;

create function private.mail_key(p_purpose text, p_email text) returns bytea
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', 'mail', p_purpose, p_email), 'UTF8'))
$$;
comment on function private.mail_key(text, text) is
  'Returns the key that mails to an address count against, by purpose. The address itself is not stored.';
grant execute on function private.mail_key(text, text) to neurant_router;

create function private.try_once_more(
  p_kind text, p_address inet, p_most integer, p_within interval, p_now timestamptz)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_tried integer;
begin
  if p_address is null then
    return true;
  end if;
  -- Two at once from one address are counted one after the other.
  perform pg_advisory_xact_lock(hashtextextended(p_kind || ' ' || host(p_address), 0));
  delete from private.attempts a where a.attempted_at < p_now - interval '1 day';
  select count(*) into v_tried from private.attempts a
  where a.kind = p_kind and a.address = p_address and a.attempted_at > p_now - p_within;
  if v_tried >= p_most then
    return false;
  end if;
  insert into private.attempts (kind, address, attempted_at) values (p_kind, p_address, p_now);
  return true;
end $$;
comment on function private.try_once_more(text, inet, integer, interval, timestamptz) is
  'Counts an attempt from an address; returns false if the address has used up its number. Without an address (a socket of this machine) there is no limit. Security definer, called by other definers only, because the caller is not signed in.';
