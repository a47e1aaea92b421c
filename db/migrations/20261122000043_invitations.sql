-- migrate:up
-- People come by invitation. One lock order: the company, then its invitations and users.
set local role neurant_owner;

create function private.stands_above(p_role public.user_role_enum) returns boolean
language sql stable set search_path = '' as $$
  select coalesce((select private.manages_company())
    and (select private.level((select private.user_role()))) > private.level(p_role), false)
$$;

create function private.invite_user(
  p_email text, p_role public.user_role_enum, p_first_name text, p_last_name text,
  p_token_digest bytea, p_now timestamptz default now())
returns table (outcome text, invitation_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_email text := lower(btrim(p_email));
  v_known public.user_invitations;
begin
  if v_user is null or not private.stands_above(p_role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  if exists (
    select from public.users u where u.company_id = v_company and u.email = v_email and u.is_active)
  then
    return query select 'already_member', null::uuid;
    return;
  end if;
  if exists (select from public.users u where u.company_id = v_company and u.email = v_email) then
    return query select 'deactivated', null::uuid;
    return;
  end if;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.email = v_email for update;
  if v_known.status = 'pending' and v_known.expires_at > p_now then
    return query select 'already_invited', v_known.id;
    return;
  end if;
  insert into public.user_invitations as i (company_id, email, first_name, last_name, role,
    invited_by, token_digest, sent_at, expires_at)
  values (v_company, v_email, p_first_name, p_last_name, p_role, v_user, p_token_digest, p_now,
    p_now + interval '7 days')
  on conflict (company_id, email) do update
  set first_name = excluded.first_name, last_name = excluded.last_name, role = excluded.role,
    invited_by = excluded.invited_by, token_digest = excluded.token_digest, status = 'pending',
    accepted_at = null, accepted_by_user_id = null, sent_at = excluded.sent_at,
    sent_count = i.sent_count + 1, expires_at = excluded.expires_at,
    reminder_sent_at = null, reminder_count = 0
  returning i.id into v_known.id;
  return query select 'invited', v_known.id;
end $$;
comment on function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz) is
  'Invites somebody to a role below the caller''s, for 7 days, and holds a seat (NA002 where none is left): invited, already_invited, already_member, deactivated (bring them back instead) or forbidden. An address that was invited before keeps its row. Definer: token and status are nobody''s to write by hand.';

create function private.renew_invitation(
  p_invitation uuid, p_token_digest bytea, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_known public.user_invitations;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.id = p_invitation for update;
  if v_known.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_known.role) then
    return 'forbidden';
  end if;
  if v_known.status = 'accepted' then
    return 'closed';
  end if;
  update public.user_invitations i
  set token_digest = p_token_digest, status = 'pending', sent_at = p_now,
    sent_count = i.sent_count + 1, expires_at = p_now + interval '7 days',
    reminder_sent_at = null, reminder_count = 0
  where i.company_id = v_company and i.id = p_invitation;
  return 'renewed';
end $$;
comment on function private.renew_invitation(uuid, bytea, timestamptz) is
  'A new link for seven more days; the old one ends: renewed, closed (accepted), forbidden (a role not below the caller''s) or not_found. Definer, as invite_user.';

create function private.cancel_invitation(p_invitation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_known public.user_invitations;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.id = p_invitation for update;
  if v_known.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_known.role) then
    return 'forbidden';
  end if;
  if v_known.status <> 'pending' then
    return 'closed';
  end if;
  update public.user_invitations i set status = 'cancelled'
  where i.company_id = v_company and i.id = p_invitation;
  return 'cancelled';
end $$;
comment on function private.cancel_invitation(uuid) is
  'Takes a pending invitation back and frees its seat: cancelled, closed, forbidden or not_found. Definer, as invite_user.';

create function private.accept_invitation(
  p_token_digest bytea, p_auth_user uuid, p_first_name text default null,
  p_last_name text default null, p_now timestamptz default now())
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_invitation public.user_invitations;
  v_email text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_user uuid;
begin
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  perform from public.companies c
  where c.id = v_company and c.subscription_status <> 'cancelled' for no key update;
  if found then
    select i.* into v_invitation from public.user_invitations i
    where i.company_id = v_company and i.token_digest = p_token_digest for update;
  end if;
  if v_invitation.id is null then
    return query select 'unknown', null::uuid, null::uuid;
    return;
  end if;
  if v_invitation.status = 'pending' and v_invitation.expires_at <= p_now then
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_invitation.id;
    v_invitation.status := 'expired';
  end if;
  if v_invitation.status <> 'pending' then
    return query select v_invitation.status::text
      || case v_invitation.status when 'accepted' then '_before' else '' end, null::uuid, null::uuid;
    return;
  end if;
  if v_email is distinct from v_invitation.email then
    return query select 'email_mismatch', null::uuid, null::uuid;
    return;
  end if;
  if exists (
    select from public.users u
    where u.company_id = v_company and (u.email = v_email or u.auth_user_id = p_auth_user))
  then
    return query select 'already_member', null::uuid, null::uuid;
    return;
  end if;
  update public.user_invitations i set status = 'accepted', accepted_at = p_now
  where i.company_id = v_company and i.id = v_invitation.id;
  insert into public.users (company_id, auth_user_id, email, first_name, last_name, role,
    invited_by, invited_at, accepted_invitation_at, created_by)
  values (v_company, p_auth_user, v_email,
    coalesce(p_first_name, v_invitation.first_name, split_part(v_email, '@', 1)),
    coalesce(p_last_name, v_invitation.last_name, ''), v_invitation.role,
    v_invitation.invited_by, v_invitation.sent_at, p_now, v_invitation.invited_by)
  returning id into v_user;
  update public.user_invitations i set accepted_by_user_id = v_user
  where i.company_id = v_company and i.id = v_invitation.id;
  return query select 'accepted', v_company, v_user;
end $$;
comment on function private.accept_invitation(bytea, uuid, text, text, timestamptz) is
  'A login whose e-mail was invited becomes a member, in the invitation''s seat (NA002 where the limit was lowered meanwhile): accepted, unknown, expired (and marked so), cancelled, accepted_before, email_mismatch or already_member. One of two who race wins. Definer: who accepts is no member yet.';

create function private.expire_invitations(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_now integer;
  v_expired integer := 0;
begin
  for v_company in
    select c.id from public.companies c
    where exists (
      select from public.user_invitations i
      where i.company_id = c.id and i.status = 'pending' and i.expires_at <= p_now)
    order by c.id for no key update skip locked
  loop
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.status = 'pending' and i.expires_at <= p_now;
    get diagnostics v_now = row_count;
    v_expired := v_expired + v_now;
  end loop;
  return v_expired;
end $$;
comment on function private.expire_invitations(timestamptz) is
  'Marks invitations that ran out and frees their seats; how many. Definer: over all companies.';

create function private.due_reminders(p_now timestamptz default now())
returns table (company_id uuid, invitation_id uuid)
language sql volatile security definer set search_path = '' as $$
  with due as (
    select i.company_id, i.id
    from public.user_invitations i
    join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
    where i.status = 'pending' and i.expires_at > p_now
      and (i.reminder_count = 0 and i.sent_at <= p_now - interval '3 days'
        or i.reminder_count = 1 and i.sent_at <= p_now - interval '6 days')
    for update of i skip locked
  )
  update public.user_invitations i
  set reminder_count = i.reminder_count + 1, reminder_sent_at = p_now
  from due
  where i.company_id = due.company_id and i.id = due.id
  returning i.company_id, i.id
$$;
comment on function private.due_reminders(timestamptz) is
  'Claims the reminders that are due, after three days and after six: each invitation is given out once for each. Definer: over all companies; only ids leave.';

-- Who reminds an invited person reads whom, as the worker of that company.
create policy worker_select on public.user_invitations for select to neurant_worker
  using (company_id = (select private.company_id()));
grant select (company_id, id, email, first_name, last_name, role, invited_by, expires_at, status,
  sent_at, reminder_count) on public.user_invitations to neurant_worker;

grant execute on function private.stands_above(public.user_role_enum) to neurant_router;
grant execute on function
  private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz),
  private.renew_invitation(uuid, bytea, timestamptz), private.cancel_invitation(uuid)
  to authenticated;
grant execute on function private.accept_invitation(bytea, uuid, text, text, timestamptz)
  to neurant_app;
grant execute on function private.expire_invitations(timestamptz),
  private.due_reminders(timestamptz) to neurant_jobs;
alter function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz)
  owner to neurant_router;
alter function private.renew_invitation(uuid, bytea, timestamptz) owner to neurant_router;
alter function private.cancel_invitation(uuid) owner to neurant_router;
alter function private.accept_invitation(bytea, uuid, text, text, timestamptz) owner to neurant_router;
alter function private.expire_invitations(timestamptz) owner to neurant_router;
alter function private.due_reminders(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
