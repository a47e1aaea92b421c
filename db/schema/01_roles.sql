-- Roles, schemas and extensions: the roles that exist, what each login may become, and what no role
-- may do.
-- The migrating login runs this file. All files after it run as neurant_owner.

-- Roles belong to the whole server, so a second database on the same server finds them already
-- there.
do $$
declare
  missing text;
begin
  foreach missing in array array[
    'neurant_owner',   -- owns the schemas and the tables; nobody logs in as it
    'neurant_router',  -- owns every security definer function
    'neurant_worker',  -- the system, acting for one company
    'authenticated',   -- a member of a company's staff, or an API key (Supabase's name)
    'visitor',         -- a visitor of the web chat, limited to one conversation
    'anon'             -- an unknown caller (Supabase's name); is granted nothing
  ] loop
    if not exists (select from pg_roles where rolname = missing) then
      execute format('create role %I nologin', missing);
    end if;
  end loop;
  foreach missing in array array['neurant_app', 'neurant_jobs'] loop
    if not exists (select from pg_roles where rolname = missing) then
      execute format('create role %I login noinherit', missing);
    end if;
  end loop;
end $$;

-- The roles that each login may become. A login has no rights of its own on any of our tables.
grant authenticated, visitor to neurant_app with inherit false, set true;
grant neurant_worker to neurant_jobs with inherit false, set true;
-- The owner hands its functions over to the router (90_definers.sql).
grant neurant_router to neurant_owner with inherit false, set true;
-- The migrating login must be able to act as the owner, also where it is not a superuser.
grant neurant_owner to current_user with inherit false, set true;

create schema if not exists private;
alter schema private owner to neurant_owner;
create schema if not exists jobs authorization neurant_owner;
create schema if not exists extensions authorization neurant_owner;
create schema if not exists auth authorization neurant_owner;

create extension if not exists vector with schema extensions;
create extension if not exists unaccent with schema extensions;
create extension if not exists pg_trgm with schema extensions;
create extension if not exists btree_gin with schema extensions;

revoke create on schema public from public;
grant usage, create on schema public to neurant_owner;
grant usage on schema public, private, extensions
  to neurant_owner, neurant_router, neurant_worker, neurant_app, neurant_jobs, authenticated, visitor;
grant create on schema private to neurant_router;
grant usage on schema auth to neurant_owner, neurant_router;
grant usage on schema jobs to neurant_jobs, neurant_router;

-- Nobody may call a new function until a grant names the caller.
alter default privileges for role neurant_owner revoke execute on functions from public;
alter default privileges for role neurant_router revoke execute on functions from public;

-- The job library names its tables without a schema.
alter role neurant_jobs set search_path = jobs, public;

-- PostgreSQL lets every login create temporary tables and large objects. No role of ours needs
-- them, and their contents would be outside every policy and limit.
do $$
declare
  v_function regprocedure;
  v_role text;
begin
  execute format('revoke create, temporary on database %I from public', current_database());
  for v_function in
    select p.oid from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace
      and (p.proname ~ '^lo_' or p.proname in ('loread', 'lowrite'))
  loop
    begin
      execute format('revoke execute on function %s from public', v_function);
    exception when insufficient_privilege then
      raise notice '% stays as it is: %', v_function, sqlerrm;
    end;
  end loop;
  -- A transaction whose client is unreachable holds its locks no longer than this. A setting that
  -- an administrator has chosen stays.
  foreach v_role in array array['neurant_app', 'neurant_jobs'] loop
    if not exists (
      select from pg_catalog.pg_db_role_setting s
      where s.setrole = v_role::regrole and s.setdatabase = 0
        and array_to_string(s.setconfig, ' ') like '%idle_in_transaction_session_timeout=%'
    ) then
      execute format('alter role %I set idle_in_transaction_session_timeout = %L', v_role, '60s');
    end if;
  end loop;
end $$;

set local role neurant_owner;
