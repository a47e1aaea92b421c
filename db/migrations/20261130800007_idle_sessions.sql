-- migrate:up
-- A session that nobody uses ends before its time: expires_at moves with its use, up to ends_at.
set local role neurant_owner;

create table private.session_rules (
  is_there boolean primary key default true check (is_there),
  idle_after interval not null default '1 hour' check (idle_after > interval '0'),
  kept_idle_after interval not null default '7 days' check (kept_idle_after > interval '0')
);
comment on table private.session_rules is
  'One row: after how long without use a session ends, for who asked to stay signed in (kept) and for everybody else. The web process writes the installation''s setting.';
alter table private.session_rules enable row level security, force row level security;
create policy router_select on private.session_rules for select to neurant_router using (true);
create policy router_update on private.session_rules for update to neurant_router using (true) with check (true);
grant select on private.session_rules to neurant_router;
grant update (idle_after, kept_idle_after) on private.session_rules to neurant_router;

alter table public.auth_sessions add column ends_at timestamptz, add column idle_after interval;
alter table public.login_sessions add column ends_at timestamptz, add column idle_after interval;
comment on column public.auth_sessions.expires_at is
  'When it ends unless it is used before: idle_after later than last_seen_at, and never later than ends_at.';
comment on column public.login_sessions.expires_at is
  'As of auth_sessions: it moves with use.';
comment on column public.auth_sessions.idle_after is
  'Null: of a session from before there was a limit; it ends at expires_at.';
select private.audit_column('public.login_sessions', 'ends_at', 'left_out');
select private.audit_column('public.login_sessions', 'idle_after', 'left_out');

create function private.begin_idling() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_table_name = 'login_sessions' then
    select a.ends_at, a.idle_after into new.ends_at, new.idle_after
    from public.auth_sessions a where a.id = new.auth_session_id;
  end if;
  new.ends_at := coalesce(new.ends_at, new.expires_at);
  new.idle_after := coalesce(new.idle_after, (
    -- Who asked to stay signed in has a session of more than a day.
    select case when new.ends_at > now() + interval '1 day' then r.kept_idle_after else r.idle_after end
    from private.session_rules r), interval '1 hour');
  new.expires_at := least(new.expires_at, new.ends_at, new.last_seen_at + new.idle_after);
  return new;
end $$;
comment on function private.begin_idling() is
  'Every session has an absolute end and a limit on idleness, whoever opens it; a company''s part of it has those of the whole. Definer: sessions and their rules are nobody''s to read.';

create function private.slide_session() returns trigger
language plpgsql set search_path = '' as $$
begin
  if old.expires_at <= now() or current_setting('request.is_passive', true) = 'on' then
    new.last_seen_at := old.last_seen_at;
  elsif new.idle_after is not null then
    new.expires_at := least(new.ends_at, new.last_seen_at + new.idle_after);
  end if;
  return new;
end $$;
comment on function private.slide_session() is
  'Use moves the end of a session, up to the absolute one; what is over stays over, and what a page fetches by itself (request.is_passive) is no use.';

create function private.share_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if pg_trigger_depth() > 1 or new.last_seen_at = old.last_seen_at then
    return null;
  end if;
  -- Nobody waits for another request of the same session: what is skipped is done a minute later.
  if tg_table_name = 'login_sessions' then
    update public.auth_sessions a set last_seen_at = new.last_seen_at
    where a.id in (
      select l.id from public.auth_sessions l where l.id = new.auth_session_id for update skip locked);
  else
    update public.login_sessions s set last_seen_at = new.last_seen_at
    where (s.company_id, s.id) in (
      select l.company_id, l.id from public.login_sessions l
      where l.auth_session_id = new.id for update skip locked);
  end if;
  return null;
end $$;
comment on function private.share_use() is
  'A person''s session and the company''s part of it are used together. Definer: sessions are nobody''s to write by hand.';

create function private.set_session_rules(p_idle interval, p_kept_idle interval) returns void
language sql volatile security definer set search_path = '' as $$
  update private.session_rules r set idle_after = p_idle, kept_idle_after = p_kept_idle
  where (r.idle_after, r.kept_idle_after) is distinct from (p_idle, p_kept_idle)
$$;
comment on function private.set_session_rules(interval, interval) is
  'The installation''s limits on idleness, for sessions that begin from now on. Definer: a process is no company.';

create function private.ended_by_idleness(p_token_digest bytea) returns boolean
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select a.expires_at <= now() and a.ends_at > now()
    from public.auth_sessions a where a.token_digest = p_token_digest), false)
$$;
comment on function private.ended_by_idleness(bytea) is
  'Whether the session of this token would still stand if it had been used. Definer: the caller is nobody.';

create trigger begin_idling before insert on public.auth_sessions
  for each row execute function private.begin_idling();
-- After belong_to_auth_session, by its name.
create trigger idle_with_auth_session before insert on public.login_sessions
  for each row execute function private.begin_idling();
create trigger slide_session before update of last_seen_at on public.auth_sessions
  for each row execute function private.slide_session();
create trigger slide_session before update of last_seen_at on public.login_sessions
  for each row execute function private.slide_session();
create trigger share_use after update of last_seen_at on public.auth_sessions
  for each row execute function private.share_use();
create trigger share_use after update of last_seen_at on public.login_sessions
  for each row execute function private.share_use();

grant execute on function private.set_session_rules(interval, interval),
  private.ended_by_idleness(bytea) to neurant_app;
alter function private.begin_idling() owner to neurant_router;
alter function private.share_use() owner to neurant_router;
alter function private.set_session_rules(interval, interval) owner to neurant_router;
alter function private.ended_by_idleness(bytea) owner to neurant_router;
reset role;

insert into private.session_rules default values;
-- migrate:down
