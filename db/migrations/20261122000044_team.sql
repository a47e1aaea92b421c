-- migrate:up
-- People change and go: roles, activity, and the one owner that a company always has.
set local role neurant_owner;

create function private.keep_an_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from public.users u where u.company_id = old.company_id)
    and not exists (
      select from public.users u where u.company_id = old.company_id and u.is_owner and u.is_active)
  then
    raise exception 'a company has an active owner' using errcode = 'check_violation';
  end if;
  return null;
end $$;
comment on function private.keep_an_owner() is
  'Asked at commit, so that ownership can pass from one to another. Definer: the rule holds whoever writes.';

create function private.attends_while_active() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Locked: somebody who is deactivated at this moment takes nothing more.
  perform from public.users u
  where u.company_id = new.company_id and u.id = new.operator_id and u.is_active for share;
  if not found then
    raise exception 'only an active user attends a conversation' using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
comment on function private.attends_while_active() is
  'Definer: an operador may not see every colleague, but the rule holds for all.';

create function private.leave_assignments(
  p_company uuid, p_user uuid, p_role public.user_role_enum)
returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_role <> 'operador' then
    update public.chatbot_operators o set is_active = false
    where o.company_id = p_company and o.operator_id = p_user and o.is_active;
  end if;
  if p_role <> 'supervisor' then
    delete from public.chatbot_supervisors s
    where s.company_id = p_company and s.supervisor_id = p_user;
  end if;
end $$;
comment on function private.leave_assignments(uuid, uuid, public.user_role_enum) is
  'Ends the assignments that a role cannot hold. Definer: called by definers, before the role changes.';

create function private.release_takeovers(p_company uuid, p_user uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.conversations c
  where c.company_id = p_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = p_company and s.operator_id = p_user and s.ended_at is null;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = p_company and t.status = 'pending'
    and (t.from_user_id = p_user or t.to_user_id = p_user);
end $$;
comment on function private.release_takeovers(uuid, uuid) is
  'What somebody attends goes back to the queue. Definer: called by definers; hitl_sessions are nobody''s to write by hand.';

create function private.set_user_role(p_user uuid, p_role public.user_role_enum) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not (private.stands_above(v_target.role) and private.stands_above(p_role)) then
    return 'forbidden';
  end if;
  if v_target.role = p_role then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_user, p_role);
  update public.users u set role = p_role where u.company_id = v_company and u.id = p_user;
  return 'changed';
end $$;
comment on function private.set_user_role(uuid, public.user_role_enum) is
  'Gives somebody below the caller another role below the caller''s: changed, unchanged, forbidden or not_found. Definer: roles are nobody''s to write by hand.';

create function private.set_user_active(p_user uuid, p_is_active boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_target public.users;
begin
  if not private.manages_company() then
    return 'forbidden';
  end if;
  -- The user, then conversations, then (by a trigger) the company.
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_user for no key update;
  if v_target.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_target.role) then
    return 'forbidden';
  end if;
  if v_target.is_active = p_is_active then
    return 'unchanged';
  end if;
  if not p_is_active then
    perform private.release_takeovers(v_company, p_user);
    delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  end if;
  update public.users u set is_active = p_is_active where u.company_id = v_company and u.id = p_user;
  return case when p_is_active then 'activated' else 'deactivated' end;
end $$;
comment on function private.set_user_active(uuid, boolean) is
  'Lets somebody below the caller in or out: activated (NA002 where no seat is left), deactivated (seat freed, sessions ended, takeovers back in the queue), unchanged, forbidden or not_found. Definer: nobody may write this by hand.';

create function private.transfer_ownership(p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_target public.users;
begin
  if private.user_role() is distinct from 'owner' then
    return 'forbidden';
  end if;
  perform from public.users u
  where u.company_id = v_company and u.id in (v_user, p_to) order by u.id for no key update;
  if not exists (
    select from public.users u where u.company_id = v_company and u.id = v_user and u.is_owner) then
    return 'forbidden';  -- passed on a moment ago
  end if;
  select u.* into v_target from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.auth_user_id is not null;
  if v_target.id is null then
    return 'not_found';
  end if;
  if v_target.id = v_user then
    return 'unchanged';
  end if;
  perform private.leave_assignments(v_company, p_to, 'owner');
  update public.users u set role = 'administrador', is_owner = false
  where u.company_id = v_company and u.id = v_user;
  update public.users u set role = 'owner', is_owner = true
  where u.company_id = v_company and u.id = p_to;
  perform private.notify_users(v_company, '{owner}', 'ownership_received', '{}');
  return 'transferred';
end $$;
comment on function private.transfer_ownership(uuid) is
  'The owner makes an active colleague the owner and becomes administrador: transferred, unchanged, forbidden or not_found. There is one owner before, after, and for everybody who looks meanwhile. Definer: roles are nobody''s to write by hand.';

create policy router_update on public.chatbot_operators for update to neurant_router
  using (true) with check (true);
create policy router_delete on public.chatbot_supervisors for delete to neurant_router using (true);
grant update (is_active) on public.chatbot_operators to neurant_router;
grant delete on public.chatbot_supervisors to neurant_router;
grant update (role, is_owner, is_active, updated_at) on public.users to neurant_router;

create constraint trigger keep_an_owner
  after delete or update of role, is_owner, is_active on public.users
  deferrable initially deferred for each row when (old.is_owner)
  execute function private.keep_an_owner();
create trigger attends_while_active before insert or update of operator_id on public.hitl_sessions
  for each row when (new.operator_id is not null and new.ended_at is null)
  execute function private.attends_while_active();

grant execute on function private.leave_assignments(uuid, uuid, public.user_role_enum),
  private.release_takeovers(uuid, uuid) to neurant_router;
grant execute on function private.set_user_role(uuid, public.user_role_enum),
  private.set_user_active(uuid, boolean), private.transfer_ownership(uuid) to authenticated;
alter function private.keep_an_owner() owner to neurant_router;
alter function private.attends_while_active() owner to neurant_router;
alter function private.leave_assignments(uuid, uuid, public.user_role_enum) owner to neurant_router;
alter function private.release_takeovers(uuid, uuid) owner to neurant_router;
alter function private.set_user_role(uuid, public.user_role_enum) owner to neurant_router;
alter function private.set_user_active(uuid, boolean) owner to neurant_router;
alter function private.transfer_ownership(uuid) owner to neurant_router;

reset role;
-- migrate:down
